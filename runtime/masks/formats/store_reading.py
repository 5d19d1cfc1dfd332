"""Label maps out of a run-length store."""

from functools import partial
from pathlib import Path

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.formats.store import MaskStore
from mavos_deploy.runtime.masks.label_maps import LabelMaps
from mavos_deploy.runtime.masks.names import check_frames


def store_maps(path: Path) -> LabelMaps:
    """The label maps of a store, each read when it is asked for.

    Args:
        path: The file.

    Raises:
        InputError: It is no store, it holds no frame, or one has a name that none can have.
    """
    store = MaskStore(path)
    if not len(store):
        raise InputError(f"{path} holds no frame; the run that wrote it was ended too early")
    stems = [store.stem(number) for number in store.numbers]
    if len(set(stems)) < len(stems):
        stems = [f"{number:05d}" for number in store.numbers]
    check_frames(str(path), stems)
    unfinished = f"{path} was not closed; it holds the {len(store)} frames until then"
    return LabelMaps(
        {
            stem: partial(store.__getitem__, number)
            for stem, number in zip(stems, store.numbers, strict=True)
        },
        names=store.legend.names,
        notes=[] if store.complete else [unfinished],
        palette=lambda: store.legend.palette,
        single=len(stems) == 1 and not any(c.isdigit() for c in stems[0]),
    )
