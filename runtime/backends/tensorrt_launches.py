"""Launches of one graph's engine, from a captured CUDA graph where addresses come back.

A frame's launches repeat: the short-term slots take turns, so an engine soon meets the same
addresses again. Capturing records a launch and computes nothing, so it can't touch the memory;
every frame is computed once.
"""

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends.device_memory import Scratch
from mavos_deploy.runtime.backends.tensorrt_protocol import Context, Device, Launch
from mavos_deploy.runtime.bundles.engines import Shape
from mavos_deploy.runtime.contract import GraphSpec

KEPT = 24  # sets of addresses of each graph that have a context and a captured graph of their own
STALE = 8 * KEPT  # launches of a graph after which a set that didn't come back may make room

Key = tuple[object, ...]  # shapes of the inputs, then the addresses


@dataclass
class _Kept:
    """The context of one set of addresses.

    Attributes:
        context: Context that no other addresses use.
        captured: Its launch, recorded; None before that.
        latest: The graph's count of launches when these addresses were last met.
    """

    context: Context
    captured: Launch | None
    latest: int


class GraphLaunches:
    """The engine of one graph. A set of addresses goes through three states.

    - Seen: met before, and launched in the context that all new addresses share.
    - Kept: met again, and launched in a context of its own.
    - Captured: met once more, and launched from a CUDA graph recorded in that context.

    Args:
        spec: The graph by the contract.
        device: The device with its engine.
        scratch: Memory that all contexts share.
    """

    def __init__(self, spec: GraphSpec, device: Device, scratch: Scratch) -> None:
        self.spec = spec
        self._device = device
        self._scratch = scratch
        self._shared: dict[tuple[Shape, ...], Context] = {}  # by the inputs' shapes
        self._seen: OrderedDict[Key, None] = OrderedDict()
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()  # least recently met first
        self._count = 0
        self._capturable = device.captures
        scratch.users.add(self)

    def run(self, shapes: tuple[Shape, ...], addresses: Mapping[str, int]) -> None:
        """Put the engine's work on the stream.

        Args:
            shapes: Shapes of the inputs in the order of the contract.
            addresses: Addresses of inputs and outputs by name.

        Raises:
            BackendError: The engine doesn't take these shapes, the library refuses, or the device
                has no memory left.
        """
        key = (shapes, *addresses.values())
        self._count += 1
        if key in self._kept:
            self._repeat(key)
        elif key in self._seen and self._has_room():
            self._keep(key, shapes, addresses)
        else:
            self._see(key, shapes, addresses)

    def drop_contexts(self) -> None:
        """See `ScratchUser.drop_contexts`."""
        self._shared.clear()
        self._kept.clear()

    def _see(self, key: Key, shapes: tuple[Shape, ...], addresses: Mapping[str, int]) -> None:
        self._seen[key] = None
        while len(self._seen) > 2 * KEPT:
            self._seen.popitem(last=False)
        if shapes not in self._shared:
            while len(self._shared) >= KEPT:
                self._device.synchronize()
                self._shared.pop(next(iter(self._shared)))
            self._shared[shapes] = self._context(shapes, steady=False)
        context = self._shared[shapes]
        context.bind(addresses)
        context.enqueue()

    def _keep(self, key: Key, shapes: tuple[Shape, ...], addresses: Mapping[str, int]) -> None:
        # Its own context: a captured graph holds on to the context's addresses and shapes.
        del self._seen[key]
        context = self._context(shapes, steady=True)
        context.bind(addresses)
        context.enqueue()  # not recorded: a context's first launch does more than later ones
        self._kept[key] = _Kept(context, None, self._count)

    def _repeat(self, key: Key) -> None:
        self._kept.move_to_end(key)
        kept = self._kept[key]
        kept.latest = self._count
        if kept.captured is None and self._capturable:
            kept.captured = self._capture(kept.context)
        if kept.captured is None:
            kept.context.enqueue()
        else:
            kept.captured()

    def _has_room(self) -> bool:
        """Whether one more set of addresses may be kept; the oldest goes if it is stale.

        Only then: with more videos in turn than there is room, each would push the next one out.
        """
        if len(self._kept) < KEPT:
            return True
        oldest = next(iter(self._kept))
        if self._count - self._kept[oldest].latest < STALE:
            return False
        self._device.synchronize()
        del self._kept[oldest]
        return True

    def _capture(self, context: Context) -> Launch | None:
        """Record a launch; None, with a warning, where the library can't."""
        try:
            self._device.begin_capture()
            try:
                context.enqueue()
            except BaseException:
                with suppress(BackendError):  # ends the recording, which holds nothing of use
                    self._device.end_capture()
                raise
            return self._device.end_capture()
        except BackendError as error:
            self._capturable = False
            warnings.warn(
                f"{self._device.name}: {self.spec.name} can't be captured as a CUDA graph "
                f"({error}); it is launched kernel by kernel, which is slower",
                RuntimeWarning,
                stacklevel=2,
            )
            return None

    def _context(self, shapes: tuple[Shape, ...], steady: bool) -> Context:
        names = [tensor.name for tensor in self.spec.inputs]
        by_name = dict(zip(names, shapes, strict=True))
        context = self._device.context(self.spec.name, by_name, steady)
        self._scratch.lend(context)
        return context
