"""The web application of `stylepack studio`: the requests that the page can make."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stylepack.errors import StylepackError, UsageError
from stylepack.images.formats import output_format
from stylepack.network.device import is_out_of_memory
from stylepack.packs.header import shown
from stylepack.studio.catalog import Catalog
from stylepack.studio.desk import MOST_MASK_PIXELS, Desk, Sheet, Upload
from stylepack.studio.frames import SAVE, Frame, Frames, crop, jpeg
from stylepack.studio.guard import MOST_JSON, Guard, body_of
from stylepack.studio.lanes import SupersededError
from stylepack.studio.learning import Learning
from stylepack.studio.look import Look
from stylepack.studio.saving import command_of, save_pack, save_picture

T = TypeVar("T")
PAGE = Path(__file__).resolve().parent / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
SUPERSEDED = 204  # no content: a newer request has taken its place
Handler = Callable[[Request], Awaitable[Response]]


class Studio:
    """Handlers of requests; `routes` lists them."""

    def __init__(self, catalog: Catalog, folder: Path) -> None:
        self.catalog = catalog
        self.desk = Desk(folder)
        self.frames = Frames(catalog, self.desk)
        self.learning = Learning(self.frames)
        self.files = {path.name: path.read_bytes() for path in sorted(PAGE.iterdir())}
        self.saved: dict[str, Path] = {}

    def lay(self, source: Path | Upload) -> Sheet:
        """Read a photograph; it replaces the last one.

        Raises:
            StylepackError: it cannot be read.
        """
        sheet = self.desk.lay(source)
        self.frames.begin(sheet)
        return sheet

    def close(self) -> None:
        """Stop all work."""
        self.learning.close()
        self.frames.close()

    def routes(self, token: str) -> list[Route]:
        """Every address, below the token."""
        asked: dict[str, tuple[str, Handler]] = {
            "state": ("GET", self.state),
            "photo": ("POST", self.take_photo),
            "photo/shown": ("GET", self.shown_photo),
            "photo/crop": ("GET", self.crop_photo),
            "thumbnail": ("GET", self.thumbnail),
            "frame": ("POST", self.frame),
            "crop": ("POST", self.crop_painted),
            "mask": ("POST", self.take_mask),
            "mask/{mask_id}": ("GET", self.give_mask),
            "command": ("POST", self.command),
            "save": ("POST", self.save),
            "saved/{number}": ("GET", self.download),
            "pack": ("POST", self.save_pack),
            "learn": ("POST", self.learn),
            "learn/state": ("GET", self.learn_state),
            "learn/preview": ("GET", self.learn_preview),
            "learn/cancel": ("POST", self.learn_cancel),
        }
        routes = [
            Route(f"/{token}/{path}", _in_words(handler), methods=[method])
            for path, (method, handler) in asked.items()
        ]
        return [
            *routes,
            Route(f"/{token}/", self.page_file),
            Route(f"/{token}/{{name}}", self.page_file),
        ]

    async def page_file(self, request: Request) -> Response:
        """One of the page's own files."""
        name = request.path_params.get("name", "index.html")
        if name not in self.files:
            return Response(status_code=404)
        return Response(self.files[name], media_type=KINDS[Path(name).suffix])

    async def state(self, _: Request) -> Response:
        """The page's initial state: packs, photograph, masks and progress of learning."""
        packs = [{"reference": one, **asdict(label)} for one, label in self.catalog.labels.items()]
        return JSONResponse(
            {
                "packs": packs,
                "photo": _photo_facts(self.desk.sheet),
                "hasStrength": self.catalog.has_strength,
                "learning": asdict(self.learning.progress),
                "masks": list(self.desk.masks),
            }
        )

    async def take_photo(self, request: Request) -> Response:
        """Take a photograph from the request's body."""
        name = unquote(request.headers.get("x-name", ""))
        upload = Upload(await body_of(request, what="the photograph"), name)
        sheet = await run_in_threadpool(self.lay, upload)
        return JSONResponse(_photo_facts(sheet))

    async def shown_photo(self, request: Request) -> Response:
        """The photograph at the size at which the page shows it whole."""
        sheet = self._sheet(request)
        return _picture(await run_in_threadpool(lambda: jpeg(sheet.shown())))

    async def crop_photo(self, request: Request) -> Response:
        """A part of the photograph at full size."""
        part = _rectangle(request)
        return _picture(await run_in_threadpool(crop, self._sheet(request).photo, *part))

    async def thumbnail(self, request: Request) -> Response:
        """A thumbnail of the photograph in a pack's style."""
        reference = request.query_params.get("pack", "")
        return await _painted(self.frames.thumbnail(reference, self._sheet(request)))

    async def frame(self, request: Request) -> Response:
        """The photograph in a look: `quick`, `better`, `best` or a `tile` of the pad."""
        look, sheet = await self._look(request), self._sheet(request)
        kind = request.query_params.get("kind", "quick")
        if kind == "quick":
            elsewhere = _whole_number(request, "elsewhere", 0, 10_000) / 1000
            return await _painted(self.frames.quick(look, sheet, elsewhere))
        if kind == "tile":
            return await _painted(self.frames.tile(look, sheet))
        return await _painted(self.frames.sharp(look, sheet, best=kind == "best"))

    async def crop_painted(self, request: Request) -> Response:
        """A part of the painting at full size, or the share of the painting that is done."""
        part = _rectangle(request)
        found = self.frames.whole(await self._look(request), self._sheet(request))
        if isinstance(found, float):
            return JSONResponse({"share": found}, 202)
        return _picture(await run_in_threadpool(crop, found, *part))

    async def take_mask(self, request: Request) -> Response:
        """Keep a mask, one byte per pixel."""
        content = await body_of(request, MOST_MASK_PIXELS, "the mask")
        width, height = (_whole_number(request, side, 1, 1 << 16) for side in ("width", "height"))
        return JSONResponse({"id": self.desk.keep_mask(content, width, height)})

    async def give_mask(self, request: Request) -> Response:
        """A mask as a PNG."""
        content = self.desk.mask_png(request.path_params["mask_id"])
        return Response(content, media_type="image/png")

    async def command(self, request: Request) -> Response:
        """The command that paints a look; with `masks=1` its masks are written."""
        look = await self._look(request)
        self._sheet(request)
        write = request.query_params.get("masks") == "1"
        made = partial(command_of, self.desk, self.catalog, look, write_masks=write)
        command = await run_in_threadpool(made)
        return JSONResponse({"command": command, "typed": self.desk.current().typed})

    async def save(self, request: Request) -> Response:
        """Write the full-size painting to the chosen folder, or return the share that is done."""
        look, sheet = await self._look(request), self._sheet(request)
        painted = self.frames.whole(look, sheet, SAVE)
        if isinstance(painted, float):
            return JSONResponse({"share": painted}, 202)
        path = await run_in_threadpool(save_picture, self.desk, painted, look)
        number = str(len(self.saved))
        self.saved[number] = path
        return JSONResponse({"path": str(path), "name": path.name, "number": number})

    async def download(self, request: Request) -> Response:
        """Download a picture that was saved."""
        path = self.saved.get(request.path_params["number"])
        if path is None:
            return Response(status_code=404)
        content = await run_in_threadpool(path.read_bytes)
        return Response(content, media_type=_media_type(path))

    async def save_pack(self, request: Request) -> Response:
        """Install the mix of a look as a pack."""
        data = await _json(request)
        look = self._parsed(data.get("look"))
        name, title = str(data.get("name", "")), str(data.get("title", ""))[:200]
        words = await run_in_threadpool(save_pack, self.catalog, look.mix, name, title)
        await run_in_threadpool(self.frames.refresh)
        return JSONResponse({"words": words})

    async def learn(self, request: Request) -> Response:
        """Learn a painting in the request's body."""
        file = unquote(request.headers.get("x-name", ""))
        upload = Upload(await body_of(request, what="the painting"), file)
        name = request.query_params.get("name", "")
        await run_in_threadpool(self.learning.begin, upload, name)
        return JSONResponse(asdict(self.learning.progress))

    async def learn_state(self, _: Request) -> Response:
        """The progress of learning."""
        return JSONResponse(asdict(self.learning.progress))

    async def learn_preview(self, _: Request) -> Response:
        """The photograph in the style learned so far."""
        preview = self.learning.preview
        return Response(status_code=404) if preview is None else _picture(preview)

    async def learn_cancel(self, _: Request) -> Response:
        """Stop learning."""
        self.learning.cancel()
        return JSONResponse({})

    def _sheet(self, request: Request) -> Sheet:
        return self.desk.current(request.query_params.get("photo", ""))

    async def _look(self, request: Request) -> Look:
        return self._parsed(await _json(request))

    def _parsed(self, data: object) -> Look:
        return self.catalog.parsed(data, self.desk.masks)


def application(studio: Studio, token: str, port: int) -> Guard:
    """The guarded application; it closes the studio on shutdown."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(studio.close)

    return Guard(Starlette(routes=studio.routes(token), lifespan=lifespan), token, port)


def _in_words(handler: Handler) -> Handler:
    """A handler that returns errors as sentences in JSON."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except (SupersededError, ClientDisconnect):  # nobody waits for the answer
            return Response(status_code=SUPERSEDED)
        except StylepackError as error:
            return JSONResponse({"error": str(error)}, 400)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            words = "there is not enough memory; take a smaller photograph or larger strokes"
            return JSONResponse({"error": words}, 507)

    return answer


async def _painted(future: "Future[Frame]") -> Response:
    return _picture(await asyncio.wrap_future(future))


def _picture(frame: Frame) -> Response:
    headers = {
        "x-size": f"{frame.size[0]}x{frame.size[1]}",
        "x-milliseconds": f"{1000 * frame.seconds:.0f}",
    }
    return Response(frame.content, media_type=frame.kind, headers=headers)


def _photo_facts(sheet: Sheet | None) -> dict[str, Any] | None:
    if sheet is None:
        return None
    width, height = sheet.photo.size
    return {"id": sheet.id, "name": shown(sheet.name), "width": width, "height": height}


async def _json(request: Request) -> dict[str, Any]:
    try:
        data = json.loads(await body_of(request, MOST_JSON, "the request"))
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise UsageError("the request is not a JSON object")
    return data


def _whole_number(request: Request, name: str, least: int, most: int) -> int:
    text = request.query_params.get(name, str(least))
    if not text.isascii() or not text.isdecimal() or not least <= int(text[:9]) <= most:
        raise UsageError(f"{name} is '{shown(text)}'; it must be from {least} to {most}")
    return int(text[:9])


def _rectangle(request: Request) -> tuple[int, int, int, int]:
    left, top = (_whole_number(request, name, 0, 1 << 20) for name in ("left", "top"))
    width, height = (_whole_number(request, name, 1, 1 << 16) for name in ("width", "height"))
    return left, top, width, height


def _media_type(path: Path) -> str:
    from PIL import Image

    return Image.MIME.get(output_format(path), "application/octet-stream")
