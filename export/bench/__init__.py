"""Time and memory of a bundle beside PyTorch."""
