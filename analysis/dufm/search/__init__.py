"""The search for optima of the reduced problem: one sample a class, one decay, narrow layers.

`objective.py` the loss with its kinks smoothed · `quasi_newton.py` batched L-BFGS · `annealing.py` smoothing taken away
step by step · `starts.py` where to begin · `pool.py` the best so far · `search.py` restarts and hops · `finalists.py`
the best ends, by `newton.py` to the last digit · `neurons.py` layers made narrower and wider · `stationarity.py` what
the result is, at its kinks.
"""
