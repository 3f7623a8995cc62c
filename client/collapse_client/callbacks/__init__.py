"""The recorder inside the training loops of others, an optional extra each.

lightning.py is for PyTorch Lightning, transformers.py for Hugging Face's Trainer, keras.py for Keras 3 with any
backend.
"""
