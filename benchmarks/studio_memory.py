"""Show what mavos-studio takes of memory and time on an hour of 1080p.

    python -m benchmarks.studio_memory BUNDLE hour.mp4 --seconds 60

Makes the video where it is missing: five made-up seconds, encoded once and repeated without
encoding. Starts `mavos-studio` on it with an empty project, draws a box around each object, follows
forward and backward, and asks for random frames all the while, as thumbnails are made. At the end
it writes an overlay video of what was followed. Prints the time until the page can be opened, times
of random frames, and after each stage the server's most memory so far (VmHWM). Linux only.
"""

import argparse
import http.client
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlsplit

import av
import numpy as np
from av.video.stream import VideoStream

from benchmarks.studio_masks import box_around
from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.runtime.media.frames import open_frames

SIZE, RATE, FRAMES, TIMES = (1080, 1920), 30, 150, 720
OBJECTS = 3  # of the made-up seconds
MIDDLE = FRAMES * TIMES // 2  # the first frame of a repetition
PATIENCE = 600  # seconds
COMMAND = "from mavos_deploy.cli.studio import main; main()"


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path, help="bundle folder")
    parser.add_argument("video", type=Path, help="the hour; made where it is missing")
    parser.add_argument("--objects", type=int, default=1, choices=range(1, OBJECTS + 1))
    parser.add_argument("--seconds", type=float, default=60, help="of following, each way")
    parser.add_argument("--seed", type=int, default=0, help="of the random frames")
    options = parser.parse_args()
    if not options.video.exists():
        make_hour(options.video)
    with TemporaryDirectory(prefix="mavos-studio-") as folder:
        words = [str(options.bundle), str(options.video), "--project", f"{folder}/project"]
        words += ["--no-browser", "--json", "--threads", "1", "--fit", "stretch"]
        started = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words], stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                server = Server(process)
                print(f"opened in {time.perf_counter() - started:.1f} s", flush=True)
                use(server, options)
            finally:
                process.terminate()


def make_hour(path: Path) -> None:
    """Write the video."""
    with TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / "part.mp4"
        with av.open(str(part), "w") as container:
            stream = container.add_stream("libx264", rate=RATE)
            stream.height, stream.width = SIZE
            stream.pix_fmt, stream.options = "yuv420p", {"g": str(FRAMES), "crf": "26"}
            for rgb, _ in iter_clip(*SIZE, FRAMES, OBJECTS, seed=3):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb)))
            container.mux(stream.encode())
        whole = Path(folder) / "whole.mp4"
        with av.open(str(whole), "w") as container:
            copy: VideoStream | None = None
            for number in range(TIMES):
                with av.open(str(part)) as source:
                    given = source.streams.video[0]
                    copy = copy or container.add_stream_from_template(given)
                    assert given.time_base is not None
                    later = round(number * FRAMES / RATE / given.time_base)
                    for packet in source.demux(given):
                        if packet.dts is not None and packet.pts is not None:
                            packet.pts, packet.dts = packet.pts + later, packet.dts + later
                            packet.stream = copy
                            container.mux(packet)
        whole.rename(path)


class Server:
    """A running mavos-studio."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        told = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        address = urlsplit(told["address"])
        self._place = f"127.0.0.1:{address.port}"
        self._headers = {"authorization": f"Bearer {parse_qs(address.query)['token'][0]}"}
        self._status = Path(f"/proc/{process.pid}/status")

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        """Send a request; the answer's content."""
        connection = http.client.HTTPConnection(self._place, timeout=PATIENCE)
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, self._headers)
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        assert answer.status == 200, found
        return found

    def json(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401
        """The same for an answer in JSON."""
        return json.loads(self.ask(method, path, body))

    def memory(self, stage: str) -> None:
        """Print how much memory it has, and had at most."""
        lines = self._status.read_text().splitlines()
        found = {line.split(":")[0]: line.split()[1] for line in lines if "kB" in line}
        now, most = (int(found[key]) / 1000 for key in ("VmRSS", "VmHWM"))
        print(f"{stage}: {now:.0f} MB now, {most:.0f} MB at most", flush=True)


def use(server: Server, options: argparse.Namespace) -> None:
    """Do what a person would, and print what it takes."""
    rng = random.Random(options.seed)
    server.memory("opened")
    times = seek(server, rng, 5)
    server.memory("random frames")
    _, labels = next(iter_clip(*SIZE, 1, OBJECTS, seed=3))
    with open_frames(str(options.video)) as source:
        assert source.size == SIZE, f"{options.video} is another video; name one that is missing"
    whole = np.zeros(SIZE, np.uint8)
    for number in range(1, options.objects + 1):
        server.json("POST", "/api/objects", {})
        prompt = {"object": number, "engine": "grabcut", "box": box_around(labels == number)}
        found = server.json("POST", f"/api/prompts/{MIDDLE}", prompt)
        mask = np.repeat(np.array(found["values"], np.uint8), found["lengths"]).reshape(SIZE)
        whole[mask > 0] = number
    edges = np.flatnonzero(np.diff(whole.ravel())) + 1
    starts = [0, *edges.tolist()]
    runs = {
        "height": SIZE[0],
        "width": SIZE[1],
        "values": whole.ravel()[starts].tolist(),
        "lengths": np.diff([*starts, whole.size]).tolist(),
        "base": 0,
        "objects": list(range(1, options.objects + 1)),
    }
    server.json("PUT", f"/api/masks/{MIDDLE}", runs)
    server.memory("boxes")
    for direction in ("forward", "backward"):
        server.json("POST", "/api/follow", {"from": MIDDLE, "direction": direction})
        times += seek(server, rng, options.seconds)
        done = server.json("POST", "/api/follow/stop")["done"]
        server.memory(f"followed {direction}, {done} frames")
    median, longest = statistics.median(times), max(times)
    print(f"a random frame: {median:.3f} s in the median of {len(times)}, {longest:.3f} s at most")
    told = server.json("POST", "/api/export", {"kind": "overlay"})
    while told["state"] == "running":
        time.sleep(0.2)
        told = server.json("GET", "/api/project")["exports"][-1]
    assert told["state"] == "done", told["message"]
    server.memory(f"overlay of {told['total']} frames")


def seek(server: Server, rng: random.Random, seconds: float) -> list[float]:
    """Ask for random frames; how long each of them took, in seconds."""
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.perf_counter()
        server.ask("GET", f"/api/frames/{rng.randrange(FRAMES * TIMES)}.jpg")
        times.append(time.perf_counter() - started)
        time.sleep(0.3)  # in which a thumbnail is made
    return times


if __name__ == "__main__":
    main()
