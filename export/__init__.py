"""Checkpoint to bundle: graphs, their export, and the proof that they equal PyTorch."""
