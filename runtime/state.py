"""The state of one video: a value that goes into a step and comes out of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.protocol import Backend, Tensor
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import IDENTITIES, memory_specs
from mavos_deploy.runtime.manifest import Manifest
from mavos_deploy.runtime.objects import VOID, object_mask
from mavos_deploy.runtime.system.files import replacing

FORMAT_VERSION = 1
LONGEST_FRAME = 1 << 16  # pixels on a side


@dataclass(frozen=True, eq=False)
class State:
    """Everything that a video's next step depends on.

    Attributes:
        bundle: `Manifest.identity` of the bundle it belongs to.
        size: Height and width of the video's frames, in pixels.
        input_size: Height and width that frames have in the network, in pixels.
        ids: The video's own id of internal ids 1, 2, ...
        visible: The largest internal id that was visible at the latest annotation.
        removed: Internal ids that are no longer wanted.
        frame: Frames since the start.
        since_update: Frames since the latest write to the long-term memory.
        updated: For each group of ten, whether its dynamic slot has been written. Until then it
            holds a copy of the reference.
        memory: `<slot>_key_<block>` [groups, Ck, h, w] and `<slot>_value_<block>`
            [groups, 2 Cv, h, w] for the slots `reference`, `dynamic` and `short`. Values are
            levels, uint8, where the bundle's attention is quantised.
    """

    bundle: str
    size: tuple[int, int]
    input_size: tuple[int, int]
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


def save_state(state: State, path: Path, backend: Backend) -> None:
    """Write a state as a safetensors file.

    Args:
        state: To write.
        path: The file; an existing one is replaced.
        backend: That the state's tensors belong to.

    Raises:
        InputError: The file can't be written.
    """
    counters = asdict(replace(state, memory={}, removed=frozenset()))
    del counters["memory"]
    counters["removed"] = sorted(state.removed)
    metadata = {"format_version": FORMAT_VERSION, **counters}
    tensors = {
        name: np.ascontiguousarray(backend.download(tensor))
        for name, tensor in state.memory.items()
    }
    with replacing(path) as temporary:
        # Not save_file, which makes the file unreadable to other users.
        temporary.write_bytes(save(tensors, {"mavos_state": json.dumps(metadata)}))


def load_state(path: Path, backend: Backend, bundle: Bundle) -> State:
    """Read a state.

    Args:
        path: A file that `save_state` wrote.
        backend: To bring the tensors to.
        bundle: That the state must belong to.

    Raises:
        InputError: No such file, not a state, damaged, or of another bundle.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("mavos_state", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, ValueError, RecursionError, OSError) as error:
        raise InputError(f"{path} is not a saved state, or is damaged ({error})") from None
    version = metadata.pop("format_version", None) if isinstance(metadata, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} is not a state of this release (format version {version}, not "
            f"{FORMAT_VERSION})"
        )
    if metadata.get("bundle") != bundle.manifest.identity:
        held = arrays.get("short_value_0")
        held_levels = held is not None and held.dtype == np.uint8
        if held_levels != (bundle.manifest.values == "int8"):
            kinds = ("float values", "int8 values")
            raise InputError(
                f"{path} holds {kinds[held_levels]}, and the memory of {bundle.path} has "
                f"{kinds[not held_levels]}; go on with the bundle that wrote it, or start again"
            )
        raise InputError(
            f"{path} is the state of another bundle; weights, frame size, memory gap, "
            "precision and the scales of int8 values must agree"
        )
    counters = _counters(metadata)
    if counters is None or not _is_memory(arrays, bundle.manifest, counters):
        raise InputError(f"{path} is not a whole state; save it again")
    return State(**counters, memory={name: backend.upload(a) for name, a in arrays.items()})


def _counters(metadata: dict[str, Any]) -> dict[str, Any] | None:
    """A state's fields but the memory; None where one is missing or can't be."""

    def numbers(value: object, low: int, high: int) -> bool:
        return isinstance(value, list) and all(
            type(number) is int and low <= number <= high for number in value
        )

    expected = {f.name for f in fields(State)} - {"memory"}
    updated = metadata.get("updated")
    if metadata.keys() != expected or not isinstance(updated, list):
        return None
    ids, slots = metadata["ids"], len(updated) * IDENTITIES
    whole = (
        numbers(metadata["size"], 1, LONGEST_FRAME)
        and numbers(metadata["input_size"], 1, LONGEST_FRAME)
        and len(metadata["size"]) == len(metadata["input_size"]) == 2
        and numbers(ids, 1, VOID - 1)
        and 0 < len(set(ids)) == len(ids) <= slots
        and numbers(metadata["removed"], 1, len(ids))
        and numbers([metadata["visible"]], 0, len(ids))
        and numbers([metadata["frame"], metadata["since_update"]], 0, 2**62)
        and all(type(flag) is bool for flag in updated)
    )
    if not whole:
        return None
    tuples = {name: tuple(metadata[name]) for name in ("size", "input_size", "ids", "updated")}
    return {**metadata, **tuples, "removed": frozenset(metadata["removed"])}


def _is_memory(
    arrays: Mapping[str, NDArray[Any]], manifest: Manifest, counters: Mapping[str, Any]
) -> bool:
    """Whether tensors are the memory of a state's groups at its size, and finite."""
    try:
        size = manifest.input_size(counters["size"])
    except InputError:  # no video is so small
        return False
    groups = len(counters["updated"])
    specs = memory_specs(manifest.specs_at(size))
    if counters["input_size"] != size or arrays.keys() != specs.keys():
        return False
    return all(
        array.dtype == specs[name].dtype
        and array.shape == specs[name].shape_at(groups=groups)
        and bool(np.isfinite(array).all())
        for name, array in arrays.items()
    )
