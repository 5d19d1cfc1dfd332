"""MAVOS for inference in PyTorch: variants, checkpoints, and the tracker that parity is held to."""
