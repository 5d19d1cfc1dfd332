"""Checkpoints: files loaded safely and strictly; shipped or synthetic weights without one."""

import hashlib
import os
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from mavos_deploy.errors import CheckpointError
from mavos_deploy.hashing import file_sha256
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.synthetic import synthetic_state_dict
from mavos_deploy.models.variants import VARIANTS, Variant
from mavos_deploy.reading import open_regular

WEIGHTS = Path(__file__).parent / "weights"
DICTS = (dict, OrderedDict)  # of state dicts; other kinds of mappings run methods of their own
LARGEST = 2 * 2**30  # bytes of a checkpoint; the largest one with its optimiser has 0.9 billion
# Types of weights. Others convert to float32 too, but to other numbers: 8 bits want their scales.
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INDICES = (torch.int64, torch.int32)  # of the few tensors that are no weights
UNFOLDED = 2  # most times its size that an archive may unfold to
NAMED_KEYS = 3  # keys that an error message spells out; the rest is counted


@dataclass(frozen=True)
class Weights:
    """Origin of a network's weights.

    Attributes:
        source: File name of the checkpoint or of the shipped weights, or `synthetic`.
        sha256: SHA-256 of that file; for synthetic weights, of their values.
        trained: False for synthetic weights.
    """

    source: str
    sha256: str
    trained: bool


def load_network(
    variant: Variant, checkpoint: Path | None, tile: tuple[int, int] | None = None
) -> tuple[Mavos, Weights]:
    """Build a network, ready for inference.

    Args:
        variant: Network to build.
        checkpoint: A released or self-trained checkpoint; None for the weights that ship with the
            variant, or for synthetic, untrained ones where none do.
        tile: Tile of the short-term attention in tokens, see `Mavos`.

    Returns:
        The network in evaluation mode, and the origin of its weights.

    Raises:
        CheckpointError: The file can't be read safely or isn't a checkpoint of this variant.
    """
    network = Mavos(variant, tile).eval().requires_grad_(False)
    if checkpoint is None:
        checkpoint = shipped_weights(variant)
    if checkpoint is None:
        state = synthetic_state_dict(network.state_dict())
        weights = Weights("synthetic", _digest(state), trained=False)
    else:
        state = read_state_dict(checkpoint)
        check_state_dict(state, variant, checkpoint.name)
        weights = Weights(checkpoint.name, file_sha256(checkpoint), trained=True)
    network.load_state_dict(state)
    return network, weights


def shipped_weights(variant: Variant) -> Path | None:
    """The file of the weights that ship with a variant; None where none do."""
    file = WEIGHTS / f"{variant.name}.safetensors"
    return file if file.is_file() else None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint file without running code from it.

    The weights are the entry `state_dict`, else `model`, else the file itself; a leading
    `module.` of a key is removed (upstream utils/checkpoint.py).

    Args:
        path: A file written by torch.save, or a `.safetensors` file.

    Returns:
        Tensors by key.

    Raises:
        CheckpointError: The file is missing, damaged, not a torch file, or holds more than data.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to those who wrote the file
            check_there(path)
            _check_declared(path)
            loaded: Any = (
                load_file(path)
                if path.suffix.lower() == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
            return _state_dict(loaded, path)
    except CheckpointError:
        raise
    except PermissionError:
        raise CheckpointError(f"{path}: no permission to read it") from None
    except MemoryError:
        raise CheckpointError(f"{path.name}: there is not enough memory to read it") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path.name}: refused, {_reason(error)}") from None
    except Exception as error:  # damaged bytes make the unpickler fail in every way there is
        spoken = isinstance(error, (RuntimeError, OSError)) and str(error)
        first = str(error).splitlines()[0] if spoken else type(error).__name__
        raise CheckpointError(
            f"{path.name}: damaged or not a PyTorch file ({first}); download it again"
        ) from None


def check_there(path: Path) -> None:
    """Refuse a path without a file.

    Raises:
        CheckpointError: It is a folder, or there is nothing.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the checkpoint file in it")
    if not path.exists():
        raise CheckpointError(
            f"{path}: no such file; see docs/checkpoints.md for where the authors publish theirs"
        )


def _check_declared(path: Path) -> None:
    """Refuse a file that would take more memory than any checkpoint, before it is read."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        unfolded = size
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                unfolded = sum(part.file_size for part in archive.infolist())
    if unfolded > UNFOLDED * size:
        raise CheckpointError(
            f"{path.name}: its {size} bytes unfold to {unfolded}, and torch.save packs nothing; "
            "save it again with torch.save, or download it again"
        )
    if size > LARGEST:
        raise CheckpointError(
            f"{path.name}: {size} bytes, and no checkpoint has more than {LARGEST}; give the file "
            "that the authors publish, or one with the weights alone"
        )


def _state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:  # noqa: ANN401  # as it came
    """The tensors in what was loaded, by the dict's own methods: the file may name others."""
    for entry in ("state_dict", "model"):
        inner = dict.get(loaded, entry) if type(loaded) in DICTS else None
        if type(inner) in DICTS:
            loaded = inner
            break
    pairs: list[tuple[object, Any]] = [("", None)]
    if type(loaded) in DICTS:
        pairs = list(dict.items(loaded))
    if not all(isinstance(value, Tensor) for _, value in pairs):
        raise CheckpointError(
            f"{path.name}: holds no state dict; expected tensors by name, bare or under "
            "`state_dict` or `model`"
        )
    state = {str(key).removeprefix("module."): value for key, value in pairs}
    if len(state) < len(pairs):
        raise CheckpointError(f"{path.name}: holds keys both with and without `module.`")
    return state


def check_state_dict(state: Mapping[str, Tensor], variant: Variant, name: str) -> None:
    """Compare a state dict with the variant's, key by key and shape by shape.

    Args:
        state: Tensors by key, without `module.`.
        variant: The network they should fit.
        name: Name of the file for an error message.

    Raises:
        CheckpointError: The state dict belongs to another variant, lacks keys, has keys too many
            or shapes that differ; or values are of another type or not finite.
    """
    own = _empty(variant)
    expected = _shapes(own)
    given = _shapes(state)
    if given != expected:
        if matches := [other for other in VARIANTS.values() if _shapes(_empty(other)) == given]:
            matches = [other for other in matches if _is_named(other, name)] or matches
            labels, names = (
                " or ".join(words)
                for words in zip(*((other.label, other.name) for other in matches), strict=True)
            )
            raise CheckpointError(
                f"{name} is a checkpoint of {labels}, not of {variant.name}; pass --variant {names}"
            )
        raise CheckpointError(f"{name} doesn't fit {variant.name}: {_differences(expected, given)}")
    for key, value in state.items():
        if value.is_meta or value.layout is not torch.strided:
            raise CheckpointError(f"{name}: {key} holds no plain values ({value.layout})")
        accepted = FLOATS if own[key].is_floating_point() else INDICES
        if value.dtype not in accepted:
            types = ", ".join(str(dtype).removeprefix("torch.") for dtype in accepted)
            raise CheckpointError(
                f"{name}: {key} is of type {str(value.dtype).removeprefix('torch.')}; accepted are "
                f"{types}, so give a file that was not quantised or converted"
            )
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(f"{name}: {key} holds values that aren't finite")


def _is_named(variant: Variant, file: str) -> bool:
    """Whether a file has the authors' name of a variant, such as `DeAOTL_PRE_YTB_DAV.pth`."""
    plain = "".join(letter for letter in file.lower() if letter.isalnum())
    return variant.upstream is not None and variant.upstream.replace("_", "") in plain


def _differences(expected: Mapping[str, tuple[int, ...]], given: Mapping[str, Any]) -> str:
    missing = [key for key in expected if key not in given]
    extra = [key for key in given if key not in expected]
    shapes = [
        f"{key} is {list(given[key])} instead of {list(shape)}"
        for key, shape in expected.items()
        if key in given and given[key] != shape
    ]
    parts = [("missing", missing), ("unknown", extra), ("of another shape", shapes)]
    return "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in parts if keys)


def _some(keys: list[str]) -> str:
    rest = len(keys) - NAMED_KEYS
    return ", ".join(keys[:NAMED_KEYS]) + (f" and {rest} more" if rest > 0 else "")


def _empty(variant: Variant) -> dict[str, Tensor]:
    """The state dict of a variant, without memory for its values."""
    with torch.device("meta"):
        return dict(Mavos(variant).state_dict())


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _reason(error: pickle.UnpicklingError) -> str:
    text = str(error)
    if "GLOBAL" in text or "allowlisted" in text:
        return (
            "it holds Python objects that could run code, not only tensors; "
            "save its state dict alone with torch.save(model.state_dict(), ...)"
        )
    return "it is damaged or not a PyTorch file; download it again"


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        digest.update(key.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()
