"""MAVOS for inference in PyTorch: variants, checkpoints, and the tracker that graphs must equal."""
