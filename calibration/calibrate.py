"""Quantises a bundle: records, finds ranges, measures what each group costs and saves, chooses."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mavos_deploy.calibration.float_memory import FloatMemory
from mavos_deploy.calibration.observe import observe, observe_values
from mavos_deploy.calibration.quantise import FloatGraph
from mavos_deploy.calibration.quantise_products import CHANGED
from mavos_deploy.calibration.quantised_bundle import check_source, in_general, write_quantised
from mavos_deploy.calibration.recorder import Recordings, open_recordings, record
from mavos_deploy.calibration.sensitivity import (
    Cost,
    Groups,
    Judge,
    TeacherForced,
    choose,
    frame_seconds,
    seconds_saved,
)
from mavos_deploy.calibration.trial import Library, Trial
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.backends.openvino_cpu import OpenVinoCpu, best_arithmetic
from mavos_deploy.runtime.backends.protocol import Array
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.quantisation import GraphKind, NumberType
from mavos_deploy.runtime.contract import GraphName
from mavos_deploy.runtime.datasets.sequences import VideoSequence, gathered
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.machine import Load, LoadMeter, describe_machine

FEW_SAMPLES = 3  # samples of each graph that groups are timed and compared on
WORTH = 0.9  # largest share of a frame's time that is worth other masks

# Called with the next piece of work and its number of steps; gives a function to call after each.
Progress = Callable[[str, int], Callable[[], None]]


@dataclass(frozen=True)
class CalibrationRequest:
    """The wishes for a quantised bundle.

    Attributes:
        kind: Kind of the quantised graphs.
        number: Number format of the quantised layers, one of `quantisation.TYPES[kind]`.
        max_drop: Largest loss of J&F against the unquantised bundle, from 0 to 1.
        most_frames: Frames to use of each clip at most.
        seed: Seed of the choice of samples; None takes the seed of existing recordings, or 0.
        threads: CPU threads; None takes all that this process may use.
        attention: Whether attention may be computed in integers; has no effect for TensorRT.
    """

    kind: GraphKind = GraphKind.CPU
    number: NumberType = NumberType.INT8
    max_drop: float = 0.005
    most_frames: int = 60
    seed: int | None = None
    threads: int | None = None
    attention: bool = True


@dataclass(frozen=True)
class CalibrationReport:
    """The findings of a calibration, and its choice.

    Attributes:
        request: The wishes, with the seed that was used.
        recorded: Names of the clips that ranges come from.
        held_out: Names of the clips that costs were measured on.
        labelled: Whether the held-out clips are annotated throughout; else masks are compared with
            those of the unquantised bundle.
        missing: Stages of the memory and crowds that the clips lack, in words.
        costs: Cost of every graph and of every group alone.
        chosen: Groups by graph, and parts of attention; empty where nothing is worth it.
        before: J&F of the unquantised bundle.
        after: J&F of the quantised bundle.
        errors: Largest difference of an output, as a share of its range, on the unquantised
            bundle's inputs, by graph that changed.
        seconds: Seconds per frame, of the bundle as it was given and after; None for a GPU, where
            nothing can be timed.
        beside: The backend that runs both forms while they are timed, and all trials.
        load: Other work of the machine while frames were timed; None where that is unknown.
        notes: One line for each thing that was concluded from the annotations, with their clips.
    """

    request: CalibrationRequest
    recorded: tuple[str, ...]
    held_out: tuple[str, ...]
    labelled: bool
    missing: list[str]
    costs: list[Cost]
    chosen: Groups
    before: float
    after: float
    errors: dict[str, float]
    seconds: tuple[float, float] | None
    beside: str
    load: Load | None
    notes: tuple[str, ...] = ()

    @property
    def drop(self) -> float:
        """Loss of J&F; negative where the masks got better."""
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

    @property
    def hardly(self) -> bool:
        """Whether it is faster, but by less than what is worth other masks."""
        return self.worth_it and self.speed is not None and self.speed * WORTH <= 1

    def to_dict(self) -> dict[str, Any]:
        """The whole report, for JSON."""
        return {
            **asdict(self),
            "drop": self.drop,
            "speed": self.speed,
            "worth_it": self.worth_it,
            "machine": describe_machine(),
        }

    def summary(self) -> dict[str, Any]:
        """The comparison that the manifest keeps."""
        return {
            "clips": list(self.held_out),
            "labelled": self.labelled,
            "quality_before": self.before,
            "quality_after": self.after,
            "worst_relative_error": self.errors,
            "frame_seconds": list(self.seconds) if self.seconds else None,
            "backend": self.beside,
        }


def calibrate(
    bundle: Bundle,
    clips: list[VideoSequence],
    request: CalibrationRequest,
    folder: Path,
    recordings: Path,
    progress: Progress,
) -> CalibrationReport:
    """Quantise a bundle as far as a budget allows.

    Every other clip is held out: ranges come from the rest, costs are measured on these. A single
    clip serves for both.

    Args:
        bundle: Bundle in fp32, not quantised.
        clips: Sequences with pictures, and masks at least where objects start.
        request: The wishes.
        folder: Existing and empty folder; becomes the quantised bundle. Stays without a manifest
            where quantising isn't worth it.
        recordings: Folder of recordings to use; where it doesn't exist, they are made there.
        progress: Called with the next piece of work and its number of steps; gives a function to
            call after each.

    Raises:
        BundleError: The bundle can't be quantised.
        InputError: The clips or the recordings can't be used.
        BackendError: The inference library failed.
    """
    check_source(bundle)
    if not clips:
        raise InputError("no clips to calibrate with; give a data set with at least one sequence")
    with (
        closing(OnnxRuntimeCpu(bundle, request.threads)) as plain,
        closing(_own_library(bundle, plain, request)) as own,
        TemporaryDirectory(prefix="mavos-calibrate-") as scratch,
    ):
        calibration = Calibration(bundle, plain, own, clips, request, progress)
        trial = calibration.find_ranges(calibration.record(recordings), Path(scratch))
        costs = calibration.measure(trial)
        chosen, drop = calibration.choose(trial, costs)
        report = calibration.compare(trial, costs, chosen, drop)
        if report.worth_it:
            write_quantised(bundle, trial.entry(chosen, report.summary()), folder)
            Bundle.open(folder)
    return report


class Calibration:
    """The stages of a calibration; each takes what the stages before it gave.

    Graphs are quantised and compared in the form that serves every video. Time is compared with the
    bundle as it is, which may have quicker graphs for some videos.

    Args:
        bundle: Bundle in fp32, not quantised.
        plain: Backend with the bundle's graphs, which records, and whose masks and outputs are
            what others are compared with; stays open.
        own: Backend of the library that the quantised graphs are for, with the graphs as they are,
            which trials and times are compared with; stays open.
        clips: Sequences to record and to measure on; at least one.
        request: The wishes.
        progress: See `calibrate`.
    """

    def __init__(
        self,
        bundle: Bundle,
        plain: OnnxRuntimeCpu,
        own: Library,
        clips: list[VideoSequence],
        request: CalibrationRequest,
        progress: Progress,
    ) -> None:
        self.given, self.bundle = bundle, in_general(bundle)
        self.plain, self.own = plain, own
        self.request, self.progress = request, progress
        self.recorded = clips[::2]
        self.judge = Judge(clips[1::2] or clips, request.most_frames)
        self._notes: dict[str, list[str]] = {}

    def record(self, folder: Path) -> Recordings:
        """Record inputs of the graphs, or open the recordings in the folder."""
        most, seed = self.request.most_frames, self.request.seed
        if not folder.exists():
            total = sum(min(len(clip.images), most) for clip in self.recorded)
            return record(
                self.bundle,
                self.plain,
                self.recorded,
                folder,
                seed=seed or 0,
                most_frames=most,
                on_frame=self.progress("recording", total),
                notes=self._notes,
            )
        kept = open_recordings(folder, self.bundle)
        if seed not in (None, kept.seed):
            raise InputError(
                f"{folder} holds recordings that were chosen with --seed {kept.seed}, not {seed}; "
                "leave --seed away to use them, or record in another folder"
            )
        return kept

    def find_ranges(self, recordings: Recordings, scratch: Path) -> Trial:
        """Find the ranges of activations, and the levels of attention unless it stays float."""
        request, bundle = self.request, self.bundle
        graphs = {name: FloatGraph(name, bundle.graph(name)) for name in bundle.specs}
        done = self.progress("finding ranges", len(recordings.files))
        ranges = {
            name: observe(graph, recordings, request.kind, request.threads, done)
            for name, graph in graphs.items()
        }
        levels = {}
        if request.kind.attentions and request.attention:
            read = [n for n in recordings.files if n.partition(".")[0] in CHANGED["memory"]]
            done = self.progress("finding the scales of values", len(read))
            levels = observe_values(graphs, recordings, request.threads, done)
        return Trial(
            bundle=bundle,
            plain=self.own,
            graphs=graphs,
            recordings=recordings,
            ranges=ranges,
            levels=levels,
            kind=request.kind,
            number=request.number,
            scratch=scratch,
        )

    def measure(self, trial: Trial) -> list[Cost]:
        """Quantise every graph, and every group of its layers, alone, and measure the effect."""
        rows: list[tuple[str, str | None]] = []
        for name, groups in trial.groups.items():
            rows += [(name, group) for group in (None, *(groups if len(groups) > 1 else ()))]
        self.judge.start(Segmenter(self.bundle, self.plain))
        done = self.progress("measuring what each group costs", len(rows))
        costs = []
        samples: dict[str, list[dict[str, Array]]] = {}
        for name, group in rows:
            chosen = {name: trial.groups[name] if group is None else (group,)}
            # Only the samples of graphs that this row changes stay in memory.
            samples = {
                graph: samples.get(graph) or _few(trial.recordings, graph)
                for graph in trial.changed(chosen)
            }
            costs.append(self._cost(trial, name, group, chosen, samples))
            done()
        return costs

    def _cost(
        self,
        trial: Trial,
        name: str,
        group: str | None,
        chosen: Groups,
        samples: dict[str, list[dict[str, Array]]],
    ) -> Cost:
        backend = trial.float_memory(chosen)
        forced = TeacherForced(self.plain, backend, samples)
        for graph, inputs in samples.items():
            for sample in inputs:
                forced.run(graph, sample)
        if trial.kind.on_cpu:
            saved = sum(
                self._saved(backend, graph, inputs) / self._every(graph)
                for graph, inputs in samples.items()
            )
        else:
            saved = self._products(trial, name, chosen[name]) / sum(
                self._products(trial, graph, own.groups) for graph, own in trial.graphs.items()
            )
        drop = self.judge.drop(trial.segmenter(chosen))
        error = max(forced.errors.values())
        return Cost(name, group, trial.layers(name, chosen[name]), drop, error, saved)

    def _saved(self, backend: FloatMemory, graph: str, samples: list[dict[str, Array]]) -> float:
        """Seconds saved in a call, the rounding of inputs that came in float not counted."""
        own = [backend.rounded(graph, sample) for sample in samples]
        return seconds_saved(graph, (self.own, samples), (backend.inner, own))

    def _products(self, trial: Trial, graph: str, groups: tuple[str, ...]) -> float:
        """Multiplications of some groups in a mean frame."""
        layers = trial.graphs[graph].chosen(groups)
        return sum(layer.products for layer in layers) / self._every(graph)

    def _every(self, graph: str) -> int:
        """Frames for each call of a graph."""
        return self.bundle.manifest.write_every if graph == GraphName.MEMORY_UPDATE else 1

    def choose(self, trial: Trial, costs: list[Cost]) -> tuple[Groups, float]:
        """Choose the groups that save the most for their cost, and measure their drop together."""

        def together(rows: list[Cost]) -> float:
            return self.judge.drop(trial.segmenter(trial.taken(rows)))

        rows, drop = choose(costs, self.request.max_drop, together)
        return trial.taken(rows), drop

    def compare(
        self, trial: Trial, costs: list[Cost], chosen: Groups, drop: float
    ) -> CalibrationReport:
        """Compare the chosen form with the unquantised one, graph by graph and side by side."""
        most, clips = self.request.most_frames, self.judge.clips
        errors: dict[str, float] = {}
        seconds, load = None, None
        if chosen:
            done = self.progress("comparing with fp32", len(clips) + 1)
            forced = TeacherForced(self.plain, trial.float_memory(chosen), trial.changed(chosen))
            for clip in clips:
                Judge([clip], most).start(Segmenter(self.bundle, forced))
                done()
            errors = forced.errors
            if trial.kind.on_cpu:
                meter = LoadMeter()
                both = Segmenter(self.given, self.own), trial.segmenter(chosen)
                seconds = frame_seconds(both, clips[0], most)
                load = meter.read()
            done()
        before = self.judge.before
        return CalibrationReport(
            request=replace(self.request, seed=trial.recordings.seed),
            recorded=trial.recordings.clips,
            held_out=tuple(clip.name for clip in clips),
            labelled=self.judge.labelled,
            missing=trial.recordings.missing(trial.bundle.manifest.memory),
            costs=costs,
            chosen=chosen,
            before=before,
            after=before - drop,
            errors=errors,
            seconds=seconds,
            beside=self.own.traits.name,
            load=load,
            notes=tuple(gathered((self._notes | self.judge.notes).items())),
        )


def _own_library(bundle: Bundle, plain: OnnxRuntimeCpu, request: CalibrationRequest) -> Library:
    """The backend that runs the quantised graphs, with the graphs as they are."""
    if request.kind != GraphKind.OPENVINO:
        return plain
    return OpenVinoCpu(bundle, request.threads, best_arithmetic())


def _few(recordings: Recordings, graph: str) -> list[dict[str, Array]]:
    """Some samples of a graph: the last by name, which come from late stages."""
    names = [name for name in sorted(recordings.files) if name.startswith(f"{graph}.")]
    few = replace(recordings, files={name: recordings.files[name] for name in names[-FEW_SAMPLES:]})
    return list(few.samples(graph))
