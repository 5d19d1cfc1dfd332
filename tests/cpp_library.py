"""The C++ runtime for tests: its C interface through ctypes, with the methods of a `Segmenter`."""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STATUS = ("ok", "input", "bundle", "backend", "memory", "internal")
PIXELS = {"rgb": 0, "bgr": 1, "float": 2}

Labels = NDArray[np.uint8]


class CppError(Exception):
    """A status of the C interface with its text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = STATUS[status]


class _Error(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char * 1024)]


class _Image(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("stride", ctypes.c_size_t),
        ("pixels", ctypes.c_int32),
    ]


class _Options(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("threads", ctypes.c_int32),
        ("provider", ctypes.c_char_p),
        ("provider_options", ctypes.c_void_p),
        ("allow_cpu_nodes", ctypes.c_int32),
    ]


class _About(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("variant", ctypes.c_char_p),
        ("identity", ctypes.c_char_p),
        ("provider", ctypes.c_char_p),
        ("arithmetic", ctypes.c_char_p),
        ("trained", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("any_size", ctypes.c_int32),
        ("memory_gap", ctypes.c_int32),
    ]


class CppLibrary:
    """The shared library; its functions raise CppError.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))

    def call(self, name: str, *arguments: object) -> None:
        error = _Error()
        function = getattr(self._library, f"mavos_{name}")
        status = function(*arguments, ctypes.byref(error))
        if status:
            raise CppError(status, error.text.decode())

    def make(self, kind: str, name: str, *arguments: object) -> "Handle":
        """The handle that a function returns through its last argument."""
        made = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(made))
        return Handle(self, kind, made)

    def read(self, name: str, handle: "Handle") -> list[int]:
        """Ids out of a function that fills an array."""
        ids = (ctypes.c_uint8 * 255)()
        function = getattr(self._library, f"mavos_state_{name}")
        function.restype = ctypes.c_size_t
        return list(ids[: function(handle, ids)])

    def read_size(self, state: "Handle", height: ctypes.c_int32, width: ctypes.c_int32) -> None:
        self._library.mavos_state_size(state, ctypes.byref(height), ctypes.byref(width))

    def open(
        self, path: str | Path, threads: int = 1, provider: str | None = None
    ) -> "CppSegmenter":
        options = _Options(ctypes.sizeof(_Options), threads, provider and provider.encode())
        bundle = str(path).encode()
        return CppSegmenter(self, self.make("segmenter", "open", bundle, ctypes.byref(options)))

    def free(self, kind: str, handle: ctypes.c_void_p) -> None:
        getattr(self._library, f"mavos_{kind}_free")(handle)


class Handle:
    """A handle that is freed with its object."""

    def __init__(self, library: CppLibrary, kind: str, pointer: ctypes.c_void_p) -> None:
        self._library, self._kind, self._as_parameter_ = library, kind, pointer

    def __del__(self) -> None:
        self._library.free(self._kind, self._as_parameter_)


class CppSegmenter:
    """A segmenter of the library."""

    def __init__(self, library: CppLibrary, handle: Handle) -> None:
        self.library, self.handle = library, handle

    @property
    def about(self) -> dict[str, Any]:
        about = _About(ctypes.sizeof(_About))
        self.library.call("segmenter_about", self.handle, ctypes.byref(about))
        return {field[0]: getattr(about, field[0]) for field in _About._fields_}

    def prepare(self, frame: NDArray[Any] | Handle, pixels: str = "") -> Handle:
        """A prepared frame; one that is prepared already is given back."""
        if isinstance(frame, Handle):
            return frame
        kind = pixels or ("float" if frame.dtype == np.float32 else "rgb")
        image = _Image(
            frame.ctypes.data, frame.shape[0], frame.shape[1], frame.strides[0], PIXELS[kind]
        )
        return self.library.make("frame", "frame_prepare", self.handle, ctypes.byref(image))

    def start(self, frame: NDArray[Any] | Handle, labels: Labels) -> Handle:
        assert labels.flags.c_contiguous
        pointer = ctypes.c_void_p(labels.ctypes.data)
        return self.library.make("state", "start", self.handle, self.prepare(frame), pointer)

    def step(
        self, frame: NDArray[Any] | Handle, state: Handle, annotation: Labels | None = None
    ) -> tuple[Labels, Handle]:
        labels = np.full(self.size(state), 255, np.uint8)
        prepared = self.prepare(frame)
        known = None if annotation is None else np.ascontiguousarray(annotation)
        pointer = ctypes.c_void_p(None if known is None else known.ctypes.data)
        out = ctypes.c_void_p(labels.ctypes.data)
        following = self.library.make("state", "step", self.handle, prepared, state, pointer, out)
        return labels, following

    def remove(self, state: Handle, ids: Sequence[int]) -> Handle:
        array = (ctypes.c_uint8 * max(1, len(ids)))(*ids)
        count = ctypes.c_size_t(len(ids))
        return self.library.make("state", "remove", self.handle, state, array, count)

    def copy(self, state: Handle) -> Handle:
        return self.library.make("state", "state_copy", state)

    def save(self, state: Handle, path: Path) -> None:
        self.library.call("state_save", state, str(path).encode())

    def load(self, path: Path) -> Handle:
        return self.library.make("state", "state_load", self.handle, str(path).encode())

    def size(self, state: Handle) -> tuple[int, int]:
        height, width = ctypes.c_int32(), ctypes.c_int32()
        self.library.read_size(state, height, width)
        return height.value, width.value

    def objects(self, state: Handle) -> tuple[int, ...]:
        return tuple(self.library.read("objects", state))
