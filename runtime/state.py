"""The state of one video: a value that goes into a step and comes out of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backend import Backend, Tensor
from mavos_deploy.runtime.contract import BLOCKS
from mavos_deploy.runtime.files import replacing
from mavos_deploy.runtime.objects import object_mask

SLOTS = ("reference", "dynamic", "short")
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class State:
    """Everything that a video's next step depends on.

    Attributes:
        size: Height and width of the video's frames, in pixels.
        ids: The video's own id of internal ids 1, 2, ...
        visible: The largest internal id that was visible at the latest annotation.
        removed: Internal ids that are no longer wanted.
        frame: Frames since the start.
        since_update: Frames since the latest write to the long-term memory.
        updated: For each group of ten, whether its dynamic slot has been written. Until then it
            holds a copy of the reference.
        memory: `<slot>_key_<block>` [groups, Ck, h, w] and `<slot>_value_<block>`
            [groups, 2 Cv, h, w] for the slots `reference`, `dynamic` and `short`.
    """

    size: tuple[int, int]
    ids: tuple[int, ...]
    visible: int
    removed: frozenset[int]
    frame: int
    since_update: int
    updated: tuple[bool, ...]
    memory: Mapping[str, Tensor]

    @property
    def objects(self) -> tuple[int, ...]:
        """The video's own ids of the objects being followed.

        Removed ones are not among them, and neither are those that an annotation left out of the
        visible ones (see `visible`).
        """
        mask = object_mask(self.visible, self.groups, self.removed)
        followed = (mask[:, 1:] == 0).ravel()
        return tuple(own for own, used in zip(self.ids, followed, strict=False) if used)

    @property
    def groups(self) -> int:
        """Groups of ten objects in memory."""
        return len(self.updated)


def memory_names(slot: str) -> list[str]:
    """Names of a slot's tensors: its keys, then its values."""
    return [f"{slot}_{part}_{i}" for part in ("key", "value") for i in range(BLOCKS)]


def save_state(state: State, path: Path, backend: Backend, identity: str) -> None:
    """Write a state as a safetensors file.

    Args:
        state: To write.
        path: The file; an existing one is replaced.
        backend: That the state's tensors belong to.
        identity: Of the bundle, `Manifest.identity`.

    Raises:
        InputError: The file can't be written.
    """
    counters = asdict(replace(state, memory={}))
    del counters["memory"]
    counters["removed"] = sorted(state.removed)
    metadata = {"format_version": FORMAT_VERSION, "identity": identity, **counters}
    tensors = {
        name: np.ascontiguousarray(backend.download(tensor))
        for name, tensor in state.memory.items()
    }
    with replacing(path) as temporary:
        # Not save_file, which makes the file unreadable to other users.
        temporary.write_bytes(save(tensors, {"mavos_state": json.dumps(metadata)}))


def load_state(path: Path, backend: Backend, identity: str) -> State:
    """Read a state.

    Args:
        path: A file that `save_state` wrote.
        backend: To bring the tensors to.
        identity: Of the bundle, `Manifest.identity`.

    Raises:
        InputError: No such file, not a state, damaged, or of another bundle.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("mavos_state", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a saved state, or is damaged ({error})") from None
    version = metadata.get("format_version") if isinstance(metadata, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} is not a state of this release (format version {version}, not "
            f"{FORMAT_VERSION})"
        )
    if metadata.get("identity") != identity:
        raise InputError(
            f"{path} is the state of another bundle; weights, frame size and memory gap must agree"
        )
    expected = {name for slot in SLOTS for name in memory_names(slot)}
    try:
        values: dict[str, Any] = {
            f.name: metadata[f.name] for f in fields(State) if f.name != "memory"
        }
        for name in ("size", "ids", "updated"):
            values[name] = tuple(values[name])
        values["removed"] = frozenset(values["removed"])
        whole = arrays.keys() == expected and all(
            len(array) == len(values["updated"]) for array in arrays.values()
        )
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise InputError(f"{path} is not a whole state; save it again")
    return State(**values, memory={name: backend.upload(a) for name, a in arrays.items()})
