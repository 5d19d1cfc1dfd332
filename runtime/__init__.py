"""Frames in, masks out, without PyTorch: bundles, backends and the segmenter."""
