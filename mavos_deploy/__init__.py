"""MAVOS video object segmentation, from a PyTorch checkpoint to ONNX graphs that run anywhere."""

__version__ = "0.1.0"
