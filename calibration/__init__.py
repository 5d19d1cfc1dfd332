"""Clips with exact ground truth, and the measures that say what a change of numbers costs."""
