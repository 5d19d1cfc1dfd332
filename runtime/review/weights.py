"""Weights of the features of `confidence.features`, fitted on made-up scenes.

Written by `python -m benchmarks.confidence fit`.
"""

GOOD = (-3.6676, 1.9179, 0.1842, -0.1423, -0.1496, 1.9951, 0.4493)
OVERLAP = (-1.4898, 0.6363, -0.2787, -0.1033, -0.0159, 1.1723, 0.1393)
GONE = 0.283
