"""Weights of the features of `confidence.features`, fitted on made-up scenes.

Written by `python -m benchmarks.confidence fit`.
"""

GOOD = (-3.6293, 1.9014, 0.1443, -0.1273, -0.164, 1.8929, 0.4449)
OVERLAP = (-1.4848, 0.6229, -0.3066, -0.0927, -0.0235, 1.1672, 0.1334)
GONE = 0.283
