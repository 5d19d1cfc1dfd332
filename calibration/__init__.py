"""Quantisation of bundles: recordings, ranges, costs, and graphs with Q/DQ pairs."""
