"""Serving on a Triton Inference Server: the model repository, the tracker model, the client."""
