"""The addresses of mavos-studio: what each request asks of the project."""

import asyncio
import errno
import secrets
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from mavos_deploy.errors import InputError, MavosError, one_line, shortage
from mavos_deploy.runtime.studio import wire
from mavos_deploy.runtime.studio.editing import ConflictError
from mavos_deploy.runtime.studio.exporting import Order
from mavos_deploy.runtime.studio.guard import Door, Guard, TooLargeError
from mavos_deploy.runtime.studio.project import IMPORT
from mavos_deploy.runtime.studio.refining import refine
from mavos_deploy.runtime.studio.studio import Message, Studio
from mavos_deploy.runtime.system.files import replacing

PAGE = Path(__file__).with_name("page")
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
}
LONGEST_SUFFIX = 16  # characters
WAITING = 2000  # messages that a slow page may leave unread before it has to connect again
FULL = ("the disk is full", "the disk quota is used up", "grew past the size")

Handler = Callable[[Request], Awaitable[Response]]


def application(studio: Studio, door: Door) -> ASGIApp:
    """The server of one project, with everything that keeps others out."""
    routes = _Routes(studio)
    app = Starlette(routes=routes.table(), exception_handlers=HANDLERS)
    return Guard(app, door)


class _Routes:
    """Handlers of all addresses."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._order = asyncio.Lock()  # changes are made in the order in which they come
        self._packing = asyncio.Lock()
        self._tag = f'"{secrets.token_hex(8)}"'

    def table(self) -> list[Route | WebSocketRoute]:
        """All addresses."""
        put, post, delete, patch = ["PUT"], ["POST"], ["DELETE"], ["PATCH"]
        return [
            Route("/", self.page),
            Route("/page/{name}", self.page),
            Route("/api/project", self.project),
            Route("/api/frames/{frame:int}.jpg", self.frame),
            Route("/api/thumbnails/{frame:int}.jpg", self.thumbnail),
            Route("/api/masks/{frame:int}", self.mask),
            Route("/api/masks/{frame:int}", self.put_mask, methods=put),
            Route("/api/masks/{frame:int}/copy", self.copy_mask, methods=post),
            Route("/api/masks/{frame:int}/import", self.import_mask, methods=post),
            Route("/api/keyframes/{frame:int}", self.drop_mask, methods=delete),
            Route("/api/prompts/{frame:int}", self.prompt, methods=post),
            Route("/api/refine/{frame:int}", self.refine, methods=post),
            Route("/api/confidence", self.confidence),
            Route("/api/events", self.events),
            Route("/api/objects", self.add_object, methods=post),
            Route("/api/objects/{number:int}", self.change_object, methods=patch),
            Route("/api/objects/{number:int}", self.delete_object, methods=delete),
            Route("/api/follow", self.follow, methods=post),
            Route("/api/follow/{word}", self.steer, methods=post),
            Route("/api/undo", self.undo, methods=post),
            Route("/api/redo", self.undo, methods=post),
            Route("/api/export", self.export, methods=post),
            Route("/api/export/{word}", self.export, methods=post),
            Route("/api/exports/{number:int}", self.download),
            WebSocketRoute("/api/live", self.live),
        ]

    async def _change(self, function: Callable[..., Message], *args: object) -> Response:
        async with self._order:
            return JSONResponse(await run_in_threadpool(function, *args))

    async def page(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        path = PAGE / name
        if name != path.name or path.suffix not in KINDS or not path.is_file():
            raise HTTPException(404, f"the page has no file {name!r:.80}")
        headers = {"cache-control": "no-cache"}
        return FileResponse(path, media_type=KINDS[path.suffix], headers=headers)

    async def project(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._studio.about))

    async def frame(self, request: Request) -> Response:
        return await self._picture(request, self._studio.pictures.jpeg)

    async def thumbnail(self, request: Request) -> Response:
        return await self._picture(request, self._studio.pictures.thumbnail)

    async def _picture(self, request: Request, make: Callable[[int], bytes]) -> Response:
        """A picture that browsers keep, and use again for as long as this server runs.

        The next server of the same address may have another video.
        """
        headers = {"cache-control": "private, no-cache", "etag": self._tag}
        if request.headers.get("if-none-match") == self._tag:
            return Response(status_code=304, headers=headers)
        content = await run_in_threadpool(make, request.path_params["frame"])
        return Response(content, media_type="image/jpeg", headers=headers)

    async def mask(self, request: Request) -> Response:
        frame = request.path_params["frame"]

        def read() -> Message:
            found = self._studio.mask(frame)
            about = {"frame": frame, "version": found.version, "keyframe": found.keyframe}
            return {**about, **wire.runs_as_json(found.labels)}

        return JSONResponse(await run_in_threadpool(read))

    async def put_mask(self, request: Request) -> Response:
        body = await request.body()

        def put() -> Message:
            asked = wire.read(wire.PutMask, body)
            labels = asked.labels(self._studio.clip.size)
            frame = request.path_params["frame"]
            return self._studio.put_mask(frame, labels, asked.base, set(asked.objects))

        return await self._change(put)

    async def copy_mask(self, request: Request) -> Response:
        asked = wire.read(wire.CopyMask, await request.body())
        ids = None if asked.objects is None else set(asked.objects)
        frame = request.path_params["frame"]
        return await self._change(self._studio.copy_mask, frame, asked.origin, asked.base, ids)

    async def import_mask(self, request: Request) -> Response:
        name = Path(unquote(request.headers.get("x-file-name", ""))).name
        suffix = Path(name).suffix.lower()
        if not suffix[1:].isalnum() or len(suffix) > LONGEST_SUFFIX:
            raise InputError(f"{name or 'the file'} has no ending that tells its format")
        frame = request.path_params["frame"]
        with tempfile.TemporaryDirectory(prefix=IMPORT, dir=self._studio.project.folder) as at:
            path = Path(at) / f"import{suffix}"
            with path.open("wb") as file:
                async for part in request.stream():
                    file.write(part)
            try:
                return await self._change(self._studio.take_masks, frame, path, name)
            except MavosError as error:  # names the file as the person knows it
                raise type(error)(str(error).replace(str(path), name)) from error

    async def drop_mask(self, request: Request) -> Response:
        return await self._change(self._studio.drop_mask, request.path_params["frame"])

    async def confidence(self, request: Request) -> Response:
        last = self._studio.clip.length - 1
        given = [request.query_params.get(name, str(n)) for name, n in (("from", 0), ("to", last))]
        if not all(text.isascii() and text.isdigit() and len(text) < 10 for text in given):
            raise InputError("from and to are numbers of frames")
        first, end = map(int, given)
        return JSONResponse(await run_in_threadpool(self._studio.confidence, first, end))

    async def events(self, request: Request) -> Response:
        return JSONResponse({"events": await run_in_threadpool(self._studio.events)})

    async def prompt(self, request: Request) -> Response:
        body, frame = await request.body(), request.path_params["frame"]

        def make() -> Message:
            asked = wire.read(wire.AskPrompt, body)
            size = self._studio.clip.size
            given = None if asked.labels is None else asked.labels.labels(size)
            started = time.perf_counter()
            mask = self._studio.prompt(frame, asked, given)
            seconds = round(time.perf_counter() - started, 3)
            return {**wire.runs_as_json(mask), "seconds": seconds}

        return JSONResponse(await run_in_threadpool(make))

    async def refine(self, request: Request) -> Response:
        body = await request.body()

        def change() -> Message:
            asked = wire.read(wire.AskRefine, body)
            mask = asked.mask.labels(self._studio.clip.size) > 0
            return wire.runs_as_json(refine(mask, asked.action, asked.amount))

        return JSONResponse(await run_in_threadpool(change))

    async def add_object(self, request: Request) -> Response:
        asked = wire.read(wire.NewObject, await request.body())
        return await self._change(self._studio.add_object, asked.name, asked.colour)

    async def change_object(self, request: Request) -> Response:
        asked = wire.read(wire.ChangedObject, await request.body())
        number = request.path_params["number"]
        wanted = (asked.name, asked.colour, asked.visible)
        return await self._change(self._studio.change_object, number, *wanted)

    async def delete_object(self, request: Request) -> Response:
        return await self._change(self._studio.delete_object, request.path_params["number"])

    async def follow(self, request: Request) -> Response:
        asked = wire.read(wire.AskFollow, await request.body())
        wanted = (asked.origin, asked.direction, asked.until, asked.fuse, asked.objects)
        return await self._change(self._studio.follow, *wanted)

    async def steer(self, request: Request) -> Response:
        word = request.path_params["word"]
        if word not in ("pause", "resume", "stop"):
            raise HTTPException(404, "no such address")
        return JSONResponse(await run_in_threadpool(self._studio.steer, word))

    async def undo(self, request: Request) -> Response:
        asked = wire.read(wire.AskUndo, await request.body())
        again = request.url.path.endswith("redo")
        return await self._change(self._studio.undo, asked.revision, again)

    async def export(self, request: Request) -> Response:
        word = request.path_params.get("word")
        if word == "stop":
            await run_in_threadpool(self._studio.stop_export)
            return JSONResponse({})
        if word not in (None, "command"):
            raise HTTPException(404, "no such address")
        asked = wire.read(wire.AskExport, await request.body())
        order = Order(**vars(asked))
        return await self._change(
            self._studio.export if word is None else self._studio.command, order
        )

    async def download(self, request: Request) -> Response:
        path = await run_in_threadpool(self._studio.exported, request.path_params["number"])
        if path.is_dir():
            packed = path.with_name(f"{path.name}.zip")
            async with self._packing:
                if not packed.exists():
                    await run_in_threadpool(_pack, path, packed)
            path = packed
        return FileResponse(path, filename=path.name)

    async def live(self, socket: WebSocket) -> None:
        """Send every message to a page, in order; one that doesn't keep up has to come again."""
        await socket.accept()
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Message | None] = asyncio.Queue()

        def take(message: Message) -> None:
            if queue.qsize() <= WAITING:
                queue.put_nowait(message if queue.qsize() < WAITING else None)

        def tell(message: Message) -> None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(take, message)

        end = await run_in_threadpool(self._studio.listen, tell)
        closed = asyncio.ensure_future(_until_closed(socket))
        try:
            while True:
                taken = asyncio.ensure_future(queue.get())
                await asyncio.wait({taken, closed}, return_when=asyncio.FIRST_COMPLETED)
                if closed.done():
                    taken.cancel()
                    return
                message = taken.result()
                if message is None:
                    await socket.close(4408, "too slow; connect again")
                    return
                await socket.send_json(message)
        except (WebSocketDisconnect, RuntimeError):
            return
        finally:
            closed.cancel()
            end()


async def _until_closed(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


def _pack(folder: Path, packed: Path) -> None:
    """Pack a folder as a zip file that appears whole."""
    with replacing(packed, follow=False) as temporary:
        shutil.make_archive(str(temporary.with_suffix("")), "zip", folder)


def _said(status: int, text: str) -> Response:
    return JSONResponse({"error": text, "status": status}, status)


async def _of_ours(request: Request, error: Exception) -> Response:
    text = str(error)
    if isinstance(error, ConflictError):
        return _said(409, text)
    return _said(507 if any(words in text for words in FULL) else 400, text)


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "no such address", 405: "this address takes no such request"}
    plain = error.detail if error.status_code != 405 else ""
    return _said(error.status_code, plain or words.get(error.status_code, "refused"))


async def _too_large(request: Request, error: Exception) -> Response:
    return _said(413, str(error))


async def _of_system(request: Request, error: Exception) -> Response:
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return _said(507, "the disk is full") if full else _said(500, one_line(error))


async def _unforeseen(request: Request, error: Exception) -> Response:
    return _said(500, shortage(error) or f"{type(error).__name__}: {one_line(error)}")


HANDLERS: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    MavosError: _of_ours,
    HTTPException: _of_http,
    TooLargeError: _too_large,
    OSError: _of_system,
    Exception: _unforeseen,
}
