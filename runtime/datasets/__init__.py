"""Data sets of the benchmarks and results over them."""
