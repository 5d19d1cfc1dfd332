"""The state of one video: a value that goes into a step and comes out of it."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from safetensors import safe_open
from safetensors.numpy import save

from mavos_deploy import records
from mavos_deploy.errors import InputError, PoisonedError, one_line
from mavos_deploy.reading import open_regular
from mavos_deploy.runtime.backends.protocol import Backend, Tensor
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.manifest import Manifest
from mavos_deploy.runtime.contract import IDENTITIES, memory_specs
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.objects import VOID, object_mask
from mavos_deploy.runtime.protocol import check_followed
from mavos_deploy.runtime.review.confidence import Review
from mavos_deploy.runtime.system.files import replacing

FORMAT_VERSION = 1
DTYPES = {"F32": "float32", "F16": "float16", "U8": "uint8"}  # those that states have
METADATA = "mavos_state"  # key of the counters in a file's metadata


@dataclass(frozen=True, eq=False)
class State:
    """Everything that a video's next step depends on.

    Attributes:
        bundle: `Manifest.identity` of the bundle it belongs to.
        size: Height and width of the video's frames, in pixels.
        input_size: Height and width that frames have in the network, in pixels.
        ids: The video's own id of internal ids 1, 2, ...
        visible: The largest internal id that is followed. By the rule `Count.UPSTREAM` it is the
            largest that was visible at the latest annotation, and may be smaller than the number of
            ids.
        removed: Internal ids that are no longer wanted.
        frame: Frames since the start.
        since_update: Frames since the latest write to the long-term memory.
        updated: For each group of ten, how many frames have entered its long-term memory after its
            reference. States of releases that knew MAVOS alone say True for any number.
        writes: Writes to the long-term memory since the start, in whatever group.
        memory: `<slot>_key_<block>` [groups, Ck, h, w] and `<slot>_value_<block>`
            [groups, 2 Cv, h, w] for the slots of the bundle's memory rule, such as `reference` and
            `dynamic`, and for `short`. Empty slots hold copies of the reference. Values are
            levels, uint8, where the bundle's attention is quantised.
        review: Judgements on the latest frame. They are not part of a saved state, which then
            compares its objects with what it sees first.
    """

    bundle: str
    size: Size
    input_size: Size
    ids: tuple[int, ...]
    visible: int = 0
    removed: frozenset[int] = frozenset()
    frame: int = 0
    since_update: int = 0
    updated: tuple[int, ...] = ()
    writes: int = 0
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    review: Review = field(default_factory=Review)

    @property
    def confidence(self) -> dict[int, float]:
        """Confidence in the latest masks, 0..1, by the video's own ids (docs/confidence.md)."""
        known = self.review.confidence
        return {own: known[own] for own in self.objects if own in known}

    @property
    def objects(self) -> tuple[int, ...]:
        """The video's own ids of the objects being followed.

        Removed ones are not among them, and neither are those beyond `visible`.
        """
        mask = object_mask(self.visible, self.groups, self.removed)
        followed = (mask[:, 1:] == 0).ravel()
        return tuple(own for own, used in zip(self.ids, followed, strict=False) if used)

    @property
    def groups(self) -> int:
        """Groups of ten objects in memory."""
        return len(self.updated)


def with_write(state: State) -> State:
    """The state after a frame has entered the long-term memory of all its groups."""
    entered = tuple(count + 1 for count in state.updated)
    return replace(state, since_update=0, updated=entered, writes=state.writes + 1)


def without_objects(state: State, ids: Collection[int], backend: Backend) -> State:
    """The state in which objects are no longer followed.

    Args:
        state: The state to remove from.
        ids: The video's own ids.
        backend: The backend that holds the state's tensors.

    Raises:
        InputError: An id isn't being followed.
    """
    check_followed(ids, state.objects)
    internal = {number for number, own in enumerate(state.ids, 1) if own in ids}
    return without_idle_groups(replace(state, removed=state.removed | internal), backend)


def without_idle_groups(state: State, backend: Backend) -> State:
    """The state without the groups whose objects are all removed; one group always stays."""
    for group in reversed(range(state.groups)):
        known = {number for number in _members(group) if number <= len(state.ids)}
        if state.groups > 1 and known <= state.removed:
            state = _without_group(state, group, backend)
    return state


def _without_group(state: State, group: int, backend: Backend) -> State:
    """The state without one group; later groups move up."""
    members = _members(group)

    def moved(internal: int) -> int:
        return internal - IDENTITIES if internal > members[-1] else internal

    def without(tensor: Tensor) -> Tensor:
        return backend.upload(np.delete(backend.download(tensor), group, axis=0))

    last = group == state.groups - 1
    return replace(
        state,
        ids=tuple(own for number, own in enumerate(state.ids, 1) if number not in members),
        removed=frozenset(moved(number) for number in state.removed if number not in members),
        visible=group * IDENTITIES if last else moved(state.visible),
        updated=state.updated[:group] + state.updated[group + 1 :],
        memory={name: without(tensor) for name, tensor in state.memory.items()},
    )


def _members(group: int) -> range:
    """Internal ids of a group of ten."""
    return range(group * IDENTITIES + 1, (group + 1) * IDENTITIES + 1)


def with_new_groups(
    state: State, fresh: Mapping[str, Tensor], backend: Backend
) -> dict[str, Tensor]:
    """A part of the memory in which new groups follow those that the state has.

    Args:
        state: The state before the groups joined.
        fresh: Tensors of the memory with the rows of all groups, those of the state first.
        backend: The backend that holds the tensors.

    Returns:
        Tensors with the state's own rows, and rows of `fresh` for the groups that are new.
    """
    if not state.groups:
        return dict(fresh)
    grown = {}
    for name, tensor in fresh.items():
        old, new = backend.download(state.memory[name]), backend.download(tensor)
        grown[name] = backend.upload(np.concatenate([old, new[state.groups :]]))
    return grown


Side = Annotated[int, Meta(ge=1, le=1 << 16)]  # pixels
Count = Annotated[int, Meta(ge=0, le=1 << 62)]
OwnId = Annotated[int, Meta(ge=1, lt=VOID)]


@dataclass(frozen=True)
class _Counters:
    """A saved state's fields but the memory; see `State` for their meaning."""

    bundle: str
    size: tuple[Side, Side]
    input_size: tuple[Side, Side]
    ids: Annotated[tuple[OwnId, ...], Meta(min_length=1)]
    visible: Count
    removed: tuple[Count, ...]
    frame: Count
    since_update: Count
    updated: tuple[bool | Count, ...]
    writes: Count = 0

    def __post_init__(self) -> None:
        if len(set(self.ids)) < len(self.ids):
            raise ValueError("`ids` holds an id twice")
        if len(self.ids) > len(self.updated) * IDENTITIES:
            raise ValueError(f"{len(self.ids)} `ids` in {len(self.updated)} groups of {IDENTITIES}")
        if self.visible > len(self.ids):
            raise ValueError(f"`visible` is {self.visible}, and there are {len(self.ids)} ids")
        if unknown := set(self.removed) - set(range(1, len(self.ids) + 1)):
            raise ValueError(f"`removed` holds {min(unknown)}, which is no internal id")


def save_state(state: State, path: Path, backend: Backend) -> None:
    """Write a state as a safetensors file.

    Args:
        state: The state to write.
        path: The file; an existing one is replaced.
        backend: The backend that holds the state's tensors.

    Raises:
        InputError: The file can't be written.
        PoisonedError: A tensor holds NaN or infinite values; an existing file stays.
    """
    content = state_bytes(state, backend)
    with replacing(path) as temporary:
        # Not save_file, which makes the file unreadable to other users.
        temporary.write_bytes(content)


def state_bytes(state: State, backend: Backend, notes: Mapping[str, str] | None = None) -> bytes:
    """A state as the content of a safetensors file.

    Args:
        state: The state to write.
        backend: The backend that holds the state's tensors.
        notes: More metadata of the file, for who wrote it; `load_state` leaves it alone.

    Raises:
        PoisonedError: A tensor holds NaN or infinite values.
    """
    held = {counter.name: getattr(state, counter.name) for counter in fields(_Counters)}
    counters = _Counters(**{**held, "removed": tuple(sorted(state.removed))})
    tensors = {
        name: np.ascontiguousarray(backend.download(tensor))
        for name, tensor in state.memory.items()
    }
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise PoisonedError(
                f"the state after frame {state.frame} isn't saved: {name} holds NaN or infinite "
                "values; save an earlier one"
            )
    text = json.dumps(records.encode(counters, FORMAT_VERSION), allow_nan=False)
    content: bytes = save(tensors, {**(notes or {}), METADATA: text})
    return content


def load_state(path: Path, backend: Backend, bundle: Bundle) -> State:
    """Read a state.

    Args:
        path: A file that `save_state` wrote.
        backend: The backend that is to hold the tensors.
        bundle: The bundle that the state must belong to.

    Raises:
        InputError: No such file, not a state, damaged, or of another bundle.
    """

    def of_another_release(reason: str) -> InputError:
        return InputError(f"{path} is not a state of this release ({reason})")

    def not_whole(reason: str) -> InputError:
        return InputError(f"{path} is not a whole state ({reason}); save it again")

    try:
        open_regular(path).close()
        # Everything is checked by the header before any tensor is read.
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(METADATA, "{}")
            records.decode(dict, text, of_another_release, FORMAT_VERSION)
            counters = records.decode(_Counters, text, not_whole)
            tensors = _headers(file)
            if counters.bundle != bundle.manifest.identity:
                raise InputError(_of_another_bundle(path, tensors, bundle))
            if reason := _unlike(tensors, counters, bundle.manifest):
                raise not_whole(reason)
            arrays = {name: file.get_tensor(name) for name in tensors}
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except MemoryError:
        raise InputError(f"{path}: there is not enough memory to read it") from None
    except Exception as error:  # the library's, for damaged bytes, are of many kinds
        raise InputError(
            f"{path} is not a saved state, or is damaged ({one_line(error)})"
        ) from None
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise not_whole(f"{name} holds values that aren't finite")
    return State(
        **{**vars(counters), "removed": frozenset(counters.removed)},
        memory={name: backend.upload(array) for name, array in arrays.items()},
    )


Header = tuple[str, tuple[int, ...]]  # type, as NumPy names it, and shape


def _headers(file: Any) -> dict[str, Header]:  # noqa: ANN401  # the library is untyped
    """Types and shapes of a file's tensors by name."""
    found = {}
    for name in file.keys():  # noqa: SIM118
        part = file.get_slice(name)
        dtype = part.get_dtype()
        found[name] = (DTYPES.get(dtype, dtype), tuple(part.get_shape()))
    return found


def _of_another_bundle(path: Path, tensors: Mapping[str, Header], bundle: Bundle) -> str:
    """Why a state doesn't go with a bundle."""
    held = any(dtype == "uint8" for dtype, _ in tensors.values())
    if held != (bundle.manifest.memory_values == "int8"):
        kinds = ("float values", "int8 values")
        return (
            f"{path} holds {kinds[held]}, and the memory of {bundle.path} has {kinds[not held]}; "
            "go on with the bundle that wrote it, or start again"
        )
    return (
        f"{path} is the state of another bundle; weights, frame size, memory gap, precision and "
        "the scales of int8 values must agree"
    )


def _unlike(tensors: Mapping[str, Header], counters: _Counters, manifest: Manifest) -> str | None:
    """How tensors differ from the memory of a state's groups at its size; None if they don't."""
    try:
        size = manifest.input_size(counters.size)
    except InputError as error:  # no video is so small
        return str(error)
    if counters.input_size != size:
        return f"`input_size` is {list(counters.input_size)}, and the bundle's is {list(size)}"
    specs = memory_specs(manifest.specs_at(size))
    if differing := sorted(tensors.keys() ^ specs.keys()):
        return f"tensor {differing[0]} is {'unknown' if differing[0] in tensors else 'missing'}"
    for name, (dtype, found) in tensors.items():
        shape = specs[name].shape_at(groups=len(counters.updated))
        if (dtype, found) != (specs[name].dtype, shape):
            return f"{name} is {dtype} {list(found)}, not {specs[name].dtype} {list(shape)}"
    return None
