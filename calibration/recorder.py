"""Records inputs of the graphs while a bundle runs over clips, in every stage of the memory.

The content of the memory changes in kind over a video: copies of the reference at first, then a
written frame, then, with MCA, a merge of few frames and of many. Ranges from the first frames alone
miss the later values, so samples are kept for each stage apart.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mavos_deploy.calibration.rollout import Rollout, check_pictures, frames_of
from mavos_deploy.errors import InputError
from mavos_deploy.hashing import file_sha256
from mavos_deploy.records import advice, encode, read
from mavos_deploy.runtime.backends.protocol import Array, Backend, Tensor, WatchedBackend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.memory import MemoryRule
from mavos_deploy.runtime.datasets.prediction import digest
from mavos_deploy.runtime.datasets.sequences import VideoSequence, listed
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.state import State
from mavos_deploy.runtime.system.files import replacing_directory

RECORD = "recordings.json"
FORMAT_VERSION = 1  # raised whenever an older release would misread recordings
SAMPLES = 2  # samples kept for each graph, stage and crowd
MANY_UPDATES = 3  # writes after the first, from which on the memory counts as often updated
MANY_OBJECTS = 4  # objects in a frame from which on they are a crowd

# Stages of the memory in which a graph may run, in order of time.
STAGES = {
    "reference": "a frame whose mask is given, at the start",
    "copied": "before the first long-term write: all slots hold the reference",
    "written": "after the first long-term write, before MCA",
    "updated": "after one or two long-term writes more, which MCA merges where there is MCA",
    "updated-often": f"after {MANY_UPDATES} long-term writes more, or still more",
    "object-added": "a frame in which an object joins",
}
CROWDS = {
    "few": f"up to {MANY_OBJECTS - 1} objects",
    "many": f"{MANY_OBJECTS} objects or more",
}


@dataclass(frozen=True)
class Record:
    """The file `recordings.json`, beside the samples.

    Attributes:
        identity: Identity of the recorded bundle.
        graphs: SHA-256 of the bundle's graphs, by graph.
        data: SHA-256 over the names and contents of the clips' files.
        clips: Names of the clips.
        seed: Seed of the choice of samples.
        files: SHA-256 of each sample by file name, which tells graph, stage, crowd and number.
        seen: How often each graph ran, by `graph/stage/crowd`.
    """

    identity: str
    graphs: dict[str, str]
    data: str
    clips: tuple[str, ...]
    seed: int
    files: dict[str, str]
    seen: dict[str, int]

    def __post_init__(self) -> None:
        for name in self.files:
            if name != Path(name).name or name.startswith("."):
                raise ValueError(f"{name!r:.60} is no sample")


@dataclass(frozen=True)
class Recordings(Record):
    """Samples in a folder, one file each.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def digest(self) -> str:
        """SHA-256 over all samples."""
        return hashlib.sha256(json.dumps(sorted(self.files.items())).encode()).hexdigest()

    def missing(self, rule: MemoryRule) -> list[str]:
        """Stages and crowds that never occurred, in words.

        Args:
            rule: Rule of the recorded bundle's memory; one that annotated frames alone enter is
                only written to where objects join.
        """
        expected = [name for name in STAGES if rule.at_gaps or not name.startswith("updated")]
        stages = {key.split("/")[1] for key in self.seen}
        crowds = {key.split("/")[2] for key in self.seen}
        return [STAGES[name] for name in expected if name not in stages] + [
            words for name, words in CROWDS.items() if name not in crowds
        ]

    def samples(self, graph: str) -> Iterator[dict[str, Array]]:
        """Inputs of a graph by name, one recorded call after the other.

        Raises:
            InputError: A file is missing or was altered.
        """
        for name, sha256 in sorted(self.files.items()):
            if name.startswith(f"{graph}."):
                path = self.path / name
                if not path.is_file() or file_sha256(path) != sha256:
                    raise InputError(
                        f"{path} is missing or not what was recorded; record again in another "
                        "folder"
                    )
                try:
                    yield dict(load_file(path))
                except SafetensorError as error:
                    raise InputError(f"{path} is damaged ({error}); record again") from None


class Recorder(WatchedBackend):
    """A backend that keeps some of the inputs of another.

    Each call of a graph in a stage and crowd is kept with the same chance (reservoir sampling,
    Vitter 1985, algorithm R), and never more than `SAMPLES` calls. The same clips and the same
    seed keep the same calls.

    Attributes:
        stage: Stage of the memory in the next calls, one of `STAGES`.
        crowd: Crowd of the next calls, one of `CROWDS`.
        seen: How often each graph ran, by `graph/stage/crowd`.

    Args:
        backend: Backend that does the work.
        folder: Folder for the samples; exists.
        seed: Seed of the choice of samples.
    """

    def __init__(self, backend: Backend, folder: Path, seed: int) -> None:
        super().__init__(backend)
        self.stage, self.crowd = "reference", "few"
        self.seen: dict[str, int] = {}
        self._folder = folder
        self._seed = seed
        self._draws: dict[str, np.random.Generator] = {}

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        key = f"{graph}/{self.stage}/{self.crowd}"
        self.seen[key] = count = self.seen.get(key, 0) + 1
        if key not in self._draws:
            # Each has a stream of its own, so that its samples don't depend on the others.
            digest = hashlib.sha256(f"{self._seed}/{key}".encode()).digest()
            self._draws[key] = np.random.default_rng(list(digest))
        place = count - 1 if count <= SAMPLES else int(self._draws[key].integers(count))
        if place < SAMPLES:
            arrays = {
                name: np.ascontiguousarray(self.inner.download(tensor))
                for name, tensor in inputs.items()
            }
            save_file(arrays, self._folder / f"{key.replace('/', '.')}.{place}.safetensors")
        return super().run(graph, inputs)


def record(
    bundle: Bundle,
    backend: Backend,
    clips: list[VideoSequence],
    folder: Path,
    *,
    seed: int,
    most_frames: int,
    on_frame: Callable[[], None] = lambda: None,
    notes: MutableMapping[str, list[str]] | None = None,
) -> Recordings:
    """Run a bundle over clips and keep inputs of its graphs.

    Args:
        bundle: Bundle in fp32, not quantised.
        backend: Backend with the bundle's graphs; stays open.
        clips: Sequences with pictures and at least the mask of the first frame.
        folder: Folder to write; must not exist.
        seed: Seed of the choice of samples.
        most_frames: Frames to use of each clip at most.
        on_frame: Called after each frame.
        notes: Gets what was concluded from the annotations, by clip.

    Raises:
        InputError: There is no clip, a clip can't be used or is noise, or all are too short to
            read a second write to the long-term memory.
        BackendError: The inference library failed.
    """
    if not clips:
        raise InputError("no clips; give a data set with at least one sequence")
    gap = bundle.manifest.memory_gap
    longest, cut = 0, False
    with replacing_directory(folder, overwrite=False) as temporary:
        recorder = Recorder(backend, temporary, seed)
        segmenter = Segmenter(bundle, recorder)
        for clip in clips:
            rollout, before, count = Rollout(segmenter), None, 0
            blank = True
            cut = cut or len(clip.images) > most_frames
            for frame in frames_of(clip, bundle.manifest.size, most_frames, notes):
                if before is not None:
                    check_pictures(clip.name, before, frame.rgb)
                blank = blank and bool((frame.rgb == frame.rgb[0, 0]).all())
                objects = len(frame.follows) + len(frame.starts)
                recorder.stage = _stage(rollout.state, frame.given is not None)
                recorder.crowd = "many" if objects >= MANY_OBJECTS else "few"
                rollout.step(frame)
                before, count = frame.rgb, count + 1
                on_frame()
            if blank:
                raise InputError(
                    f"{clip.name}: every picture is of one colour; calibrate with the kind of "
                    "video that is to be segmented"
                )
            longest = max(longest, count)
        updated = any(key.split("/")[1].startswith("updated") for key in recorder.seen)
        if gap is not None and not updated:
            reads = "reads what MCA wrote" if bundle.manifest.memory.merges else "reads two writes"
            raise InputError(
                f"at most {longest} frames of a clip are used, and the first that {reads} "
                f"is number {2 * gap + 2} at a memory gap of {gap}; "
                + ("let more be used (--frames)" if cut else "give longer clips")
            )
        whole = hashlib.sha256("".join(digest(clip) for clip in clips).encode()).hexdigest()
        made = Record(
            identity=bundle.manifest.identity,
            graphs={name: graph.sha256 for name, graph in bundle.manifest.graphs.items()},
            data=whole,
            clips=tuple(clip.name for clip in clips),
            seed=seed,
            files={
                path.name: file_sha256(path) for path in sorted(temporary.glob("*.safetensors"))
            },
            seen=recorder.seen,
        )
        text = json.dumps(encode(made, FORMAT_VERSION), indent=2, allow_nan=False) + "\n"
        (temporary / RECORD).write_text(text, encoding="utf-8")
    return Recordings(**vars(made), path=folder)


def _stage(state: State | None, given: bool) -> str:
    if state is None:
        return "reference"
    if given:
        return "object-added"
    if not any(state.updated):
        return "copied"
    if state.writes == 1:
        return "written"
    return "updated" if state.writes <= MANY_UPDATES else "updated-often"


def open_recordings(folder: Path, bundle: Bundle) -> Recordings:
    """Open recordings that `record` made with a bundle.

    Raises:
        InputError: The folder holds no recordings, or those of another release or bundle.
    """
    file = folder / RECORD

    def fail(reason: str) -> InputError:
        said = f"{file} is damaged, or another release's ({reason})"
        return InputError(said + advice(reason, "record again"))

    try:
        recordings = Recordings(**vars(read(Record, file, fail, FORMAT_VERSION)), path=folder)
    except FileNotFoundError:
        raise InputError(
            f"{folder} holds no {RECORD}, so these are no recordings; choose another folder"
        ) from None
    manifest = bundle.manifest
    own = {name: graph.sha256 for name, graph in manifest.graphs.items()}
    if recordings.identity != manifest.identity or recordings.graphs != own:
        different = listed(name for name in own if recordings.graphs.get(name) != own[name])
        raise InputError(
            f"{folder} holds recordings of another bundle (its {different or 'states'} differ); "
            "record again with this one"
        )
    return recordings
