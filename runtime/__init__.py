"""Frames in, masks out, without PyTorch: bundles, backends and the segmenter."""

from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.protocol import VideoSegmenter
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.state import State
from mavos_deploy.runtime.triton.client import RemoteSegmenter, RemoteState

__all__ = ["Bundle", "RemoteSegmenter", "RemoteState", "Segmenter", "State", "VideoSegmenter"]
