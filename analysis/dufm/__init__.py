"""The deep unconstrained features model: training, reference solutions, search for optima.

Source: Súkeník, Lampert, Mondelli, "Neural Collapse versus Low-rank Bias: Is Deep Neural Collapse Really Optimal?",
NeurIPS 2024 (arXiv 2405.14468). Matrices are d × N here, samples in columns, as in the paper; everywhere else in the
project rows are samples.
"""
