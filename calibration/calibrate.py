"""Quantises a bundle: records, finds ranges, measures what each group costs and saves, chooses."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mavos_deploy.calibration.float_memory import FloatMemory
from mavos_deploy.calibration.observe import observe, observe_values
from mavos_deploy.calibration.quantise import Graph
from mavos_deploy.calibration.quantise_attention import CHANGED
from mavos_deploy.calibration.quantised_bundle import check_source, write_quantised
from mavos_deploy.calibration.recorder import Recordings, open_recordings, record
from mavos_deploy.calibration.sensitivity import (
    ATTENTION,
    Cost,
    Groups,
    Judge,
    TeacherForced,
    choose,
    frame_seconds,
    seconds_saved,
)
from mavos_deploy.calibration.trial import Ranges, Trial
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.backends.protocol import Array
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.quantisation import Levels, Quantisation
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.machine import Load, LoadMeter, describe_machine

FEW_SAMPLES = 3  # of each graph, that groups are timed and compared on


@dataclass(frozen=True)
class Request:
    """What to make.

    Attributes:
        target: `cpu` or `tensorrt`.
        type: Of the products, `int8` or, for TensorRT, `fp8`.
        method: How ranges are chosen.
        max_drop: Of J&F against the unquantised bundle, from 0 to 1.
        most_frames: Of each clip.
        seed: Chooses what is recorded; None takes that of recordings that are there, or 0.
        threads: Of the CPU; None takes all that this process may use.
        attention: Whether attention may be computed in integers; for `cpu` only.
    """

    target: str = "cpu"
    type: str = "int8"
    method: str = "minmax"
    max_drop: float = 0.005
    most_frames: int = 60
    seed: int | None = None
    threads: int | None = None
    attention: bool = True


@dataclass
class Outcome:
    """What was found, and chosen.

    Attributes:
        request: That was made.
        recorded: Clips that ranges come from.
        held_out: Clips that costs were measured on.
        labelled: Whether these are annotated throughout; else masks are compared with those of the
            unquantised bundle.
        missing: Stages of the memory and crowds that the clips lack.
        costs: Of every graph and group alone.
        chosen: Groups by graph, and parts of attention; empty where nothing is worth it.
        before: J&F of the unquantised bundle.
        after: J&F of the quantised one.
        errors: Largest difference of an output, as a share of its range, on the unquantised
            bundle's inputs, by graph that changed.
        seconds: Of a frame, before and after; None for a GPU, where nothing can be timed.
        load: What else the machine did while frames were timed; None where that is unknown.
    """

    request: Request
    recorded: tuple[str, ...]
    held_out: tuple[str, ...]
    labelled: bool
    missing: list[str]
    costs: list[Cost]
    chosen: Groups = field(default_factory=dict)
    before: float = 1.0
    after: float = 1.0
    errors: dict[str, float] = field(default_factory=dict)
    seconds: tuple[float, float] | None = None
    load: Load | None = None

    @property
    def drop(self) -> float:
        """Of J&F; negative where the masks got better."""
        return self.before - self.after

    @property
    def speed(self) -> float | None:
        """How many times as fast the quantised bundle is; None where that can't be measured."""
        return self.seconds[0] / self.seconds[1] if self.seconds else None

    def is_chosen(self, cost: Cost) -> bool:
        """Whether a row of the table was quantised; a whole graph if all of its groups were."""
        taken = self.chosen.get(cost.graph, ())
        if cost.group is not None:
            return cost.group in taken
        groups = {c.group for c in self.costs if c.graph == cost.graph and c.group is not None}
        return bool(taken) and groups <= set(taken)

    @property
    def worth_it(self) -> bool:
        """Whether something was quantised, and it isn't slower."""
        return bool(self.chosen) and (self.speed is None or self.speed > 1)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            **asdict(self),
            "drop": self.drop,
            "speed": self.speed,
            "worth_it": self.worth_it,
            "machine": describe_machine(),
        }

    def summary(self) -> dict[str, Any]:
        """What the manifest keeps."""
        return {
            "clips": list(self.held_out),
            "labelled": self.labelled,
            "quality_before": self.before,
            "quality_after": self.after,
            "worst_relative_error": self.errors,
            "frame_seconds": list(self.seconds) if self.seconds else None,
        }


def calibrate(
    bundle: Bundle,
    clips: list[VideoSequence],
    request: Request,
    folder: Path,
    recordings: Path,
    report: Callable[[str, int], Callable[[], None]],
) -> Outcome:
    """Quantise a bundle as far as a budget allows.

    Every other clip is held out: ranges come from the rest, costs are measured on these. A single
    clip serves for both.

    Args:
        bundle: In fp32, not quantised.
        clips: With pictures, and masks at least where objects start.
        request: What to make.
        folder: Existing and empty; becomes the quantised bundle. Stays without a manifest where
            quantising isn't worth it.
        recordings: Of `record` to use; where the folder doesn't exist, it is made.
        report: Called with what is done next and how many steps it has; returns what to call
            after each.

    Raises:
        BundleError: The bundle can't be quantised.
        InputError: The clips or the recordings can't be used.
        BackendError: The inference library failed.
    """
    check_source(bundle)
    if not clips:
        raise InputError("no clips to calibrate with; give a data set with at least one sequence")
    recorded, held_out = clips[::2], clips[1::2] or clips
    with ExitStack() as stack:
        plain = OnnxRuntimeCpu(bundle, request.threads)
        stack.callback(plain.close)
        kept = _recordings(bundle, plain, recorded, recordings, request, report)
        request = replace(request, seed=kept.seed)
        graphs = {name: Graph(name, bundle.graph_path(name)) for name in bundle.specs}
        ranges = _ranges(graphs, kept, request, report)
        levels = _levels(graphs, kept, request, report)
        judge = Judge(held_out, request.most_frames)
        before = judge.start(Segmenter(bundle, plain))
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="mavos-calibrate-")))
        trial = Trial(bundle, graphs, ranges, levels, request.target, request.type, plain, scratch)
        costs = _costs(trial, kept, judge, before, report)
        outcome = Outcome(
            request=request,
            recorded=kept.clips,
            held_out=tuple(clip.name for clip in held_out),
            labelled=not any(clip.reference_only for clip in held_out),
            missing=kept.missing,
            costs=costs,
            before=before,
            after=before,
        )

        def together(taken: list[Cost]) -> float:
            return before - judge.quality(trial.segmenter(trial.taken(taken)))

        taken, drop = choose(costs, request.max_drop, together)
        outcome.chosen, outcome.after = trial.taken(taken), before - drop
        if outcome.chosen:
            _compare(trial, outcome, held_out, report)
        if outcome.worth_it:
            entry = _entry(kept, trial, outcome)
            write_quantised(bundle, entry, folder)
            Bundle.open(folder)
    return outcome


def _recordings(
    bundle: Bundle,
    plain: OnnxRuntimeCpu,
    clips: list[VideoSequence],
    folder: Path,
    request: Request,
    report: Callable[[str, int], Callable[[], None]],
) -> Recordings:
    if folder.exists():
        kept = open_recordings(folder, bundle)
        if request.seed not in (None, kept.seed):
            raise InputError(
                f"{folder} holds recordings that were chosen with --seed {kept.seed}, not "
                f"{request.seed}; leave --seed away to use them, or record in another folder"
            )
        return kept
    total = sum(min(len(clip.images), request.most_frames) for clip in clips)
    return record(
        bundle,
        plain,
        clips,
        folder,
        seed=request.seed or 0,
        most_frames=request.most_frames,
        on_frame=report("recording", total),
    )


def _ranges(
    graphs: dict[str, Graph],
    recordings: Recordings,
    request: Request,
    report: Callable[[str, int], Callable[[], None]],
) -> Ranges:
    done = report("finding ranges", len(recordings.files))
    return {
        name: observe(graph, recordings, request.target, request.method, request.threads, done)
        for name, graph in graphs.items()
    }


def _levels(
    graphs: dict[str, Graph],
    recordings: Recordings,
    request: Request,
    report: Callable[[str, int], Callable[[], None]],
) -> dict[str, tuple[Levels, ...]]:
    """Of all parts of attention; none where it stays float, as it does for TensorRT."""
    if request.target != "cpu" or not request.attention:
        return {}
    read = [name for name in recordings.files if name.partition(".")[0] in CHANGED["memory"]]
    done = report("finding the scales of values", len(read))
    return observe_values(graphs, recordings, request.threads, done)


def _costs(
    trial: Trial,
    recordings: Recordings,
    judge: Judge,
    before: float,
    report: Callable[[str, int], Callable[[], None]],
) -> list[Cost]:
    rows: list[tuple[str, str | None]] = []
    for name, all_groups in trial.groups.items():
        rows += [(name, group) for group in (None, *(all_groups if len(all_groups) > 1 else ()))]
    done = report("measuring what each group costs", len(rows))
    gap = trial.bundle.manifest.memory_gap
    every = {name: gap if name == "memory_update" else 1 for name in trial.graphs}
    products = {
        name: sum(layer.products for layer in graph.layers) / every[name]
        for name, graph in trial.graphs.items()
    }
    costs = []
    samples: dict[str, list[dict[str, Array]]] = {}
    for name, group in rows:
        groups = {name: trial.groups[name] if group is None else (group,)}
        changed = trial.changed(groups)
        # Of no more graphs at a time than are needed.
        samples = {graph: samples.get(graph) or _few(recordings, graph) for graph in changed}
        backend = trial.float_memory(groups)
        forced = TeacherForced(trial.plain, backend, changed)
        for graph in changed:
            for sample in samples[graph]:
                forced.run(graph, sample)
        if trial.target == "cpu":
            saved = sum(
                _saved(trial, backend, graph, samples[graph]) / every[graph] for graph in changed
            )
        else:
            layers = trial.graphs[name].chosen(groups[name])
            own = sum(layer.products for layer in layers) / every[name]
            saved = own / sum(products.values())
        drop = before - judge.quality(trial.segmenter(groups))
        error = max(forced.errors.values())
        costs.append(Cost(name, group, trial.layers(name, groups[name]), drop, error, saved))
        done()
    return costs


def _saved(
    trial: Trial, backend: FloatMemory, graph: str, samples: list[dict[str, Array]]
) -> float:
    """Seconds that a call takes less, without what feeding a graph in float takes."""
    own = [backend.rounded(graph, sample) for sample in samples]
    return seconds_saved(graph, (trial.plain, samples), (backend.inner, own))


def _few(recordings: Recordings, graph: str) -> list[dict[str, Array]]:
    """Some samples of a graph, the last by name, which are those of late stages."""
    names = [name for name in sorted(recordings.files) if name.startswith(f"{graph}.")]
    few = replace(recordings, files={name: recordings.files[name] for name in names[-FEW_SAMPLES:]})
    return list(few.samples(graph))


def _compare(
    trial: Trial,
    outcome: Outcome,
    clips: list[VideoSequence],
    report: Callable[[str, int], Callable[[], None]],
) -> None:
    """Compare the chosen form with the unquantised one, graph by graph and side by side."""
    request = outcome.request
    backend, changed = trial.float_memory(outcome.chosen), trial.changed(outcome.chosen)
    done = report("comparing with fp32", len(clips) + 1)
    forced = TeacherForced(trial.plain, backend, changed)
    for clip in clips:
        Judge([clip], request.most_frames).start(Segmenter(trial.bundle, forced))
        done()
    outcome.errors = forced.errors
    if request.target == "cpu":
        meter = LoadMeter()
        both = Segmenter(trial.bundle, trial.plain), trial.segmenter(outcome.chosen)
        outcome.seconds = frame_seconds(both, clips[0], request.most_frames)
        outcome.load = meter.read()
    done()


def _entry(recordings: Recordings, trial: Trial, outcome: Outcome) -> Quantisation:
    request = outcome.request
    layers = {name: groups for name, groups in outcome.chosen.items() if name != ATTENTION}
    return Quantisation(
        target=request.target,
        type=request.type,
        method=request.method,
        groups=layers,
        ranges={
            name: {
                tensor: trial.ranges[name][tensor]
                for tensor in trial.graphs[name].needed(groups, request.target)
            }
            for name, groups in layers.items()
        },
        sources={name: recordings.graphs[name] for name in trial.changed(outcome.chosen)},
        data=recordings.digest,
        seed=recordings.seed,
        attention={part: trial.levels[part] for part in outcome.chosen.get(ATTENTION, ())},
        compared=outcome.summary(),
    )
