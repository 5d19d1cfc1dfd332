"""Weights of the features of `confidence.features`, fitted on made-up scenes.

Written by `python -m benchmarks.confidence fit`.
"""

GOOD = (-3.6238, 0.9161, -0.65, -0.103, 0.1203, -0.6117, -0.5757, -0.1717, 3.5175, 0.3649)
OVERLAP = (-1.0555, 0.7928, -0.3806, 0.3901, -0.1205, -0.3188, -0.2712, 0.0119, 1.0752, 0.0295)
GONE = 0.35
