"""Passes over a video in both directions: from keyframes, in windows, fused between them."""
