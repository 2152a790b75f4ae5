"""The application: one page, its data as JSON, and tiles. Slides are found by id and never by path.

/                                       the page
/static/NAME                            its files, from a fixed list
/api/slides                             all slides
/api/slide?slide=ID                     size and resolution of one
/api/predictions?slide=ID               its overlay
/api/normalization?slide=ID             fits its colors
/api/thumbnail?slide=ID                 the whole of it in one tile
/tiles/STYLE/LEVEL/COLUMN/ROW?slide=ID  a Deep Zoom tile

With &v=VERSION, as the list of slides says it, browsers keep pictures for a day; all else they ask
for anew.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pathology.core.errors import SlideError
from pathology.core.run_record import num_cores
from pathology.core.web_access import LOCAL_NAMES, content_policy
from pathology.viewer.guard import Guard
from pathology.viewer.library import LOCAL, STATIC, Script, openseadragon
from pathology.viewer.scene import STYLES, Scene, TileName, ViewedSlide

FILES = {
    "viewer.css": "text/css",
    "viewer.js": "text/javascript",
    "overlay.js": "text/javascript",
    "panels.js": "text/javascript",
    "stage.js": "text/javascript",
    "view.js": "text/javascript",
}
KEPT = "private, max-age=86400"
GONE = 499  # nobody waits for the answer any more
MOST_DIGITS = 9
Made = TypeVar("Made")

IMAGES = "'self' data: blob:"  # what OpenSeadragon draws from


class Viewer:
    """Answers requests about a scene. Slow work is done in a few threads.

    title  what the page is called
    """

    def __init__(self, scene: Scene, title: str, script: Script, threads: int) -> None:
        self.scene, self.title = scene, title
        self.turns = asyncio.Semaphore(threads)
        self.pool = ThreadPoolExecutor(threads, "tiles")
        self.aside = ThreadPoolExecutor(threads, "facts")  # fits take long: tiles do not wait
        files = {name: (kind, STATIC / name) for name, kind in FILES.items()}
        if not script.origin:
            files["openseadragon.min.js"] = ("text/javascript", LOCAL)
        self.files = {name: (kind, path.read_bytes()) for name, (kind, path) in files.items()}
        templates = Environment(
            loader=PackageLoader("pathology.viewer", "static"),
            autoescape=True,
            undefined=StrictUndefined,
        )
        self.page = templates.get_template("index.html.j2").render(title=title, script=script)

    async def home(self, request: Request) -> Response:
        """The page."""
        return Response(self.page, media_type="text/html", headers={"Cache-Control": "no-store"})

    async def file(self, request: Request) -> Response:
        """One of the page's files."""
        found = self.files.get(request.path_params["name"])
        if found is None:
            return _problem(404, "no such file")
        return Response(found[1], media_type=found[0], headers={"Cache-Control": "no-cache"})

    async def slides(self, request: Request) -> Response:
        """The list of slides."""
        facts = {
            "note": "Research use only.",
            "title": self.title,
            "styles": list(self.scene.styles),
            "slides": await self._in(self.aside, self.scene.listed),
        }
        return _json(request, _text(facts))

    async def slide(self, request: Request) -> Response:
        """What must be known of a slide to show it."""
        return await self._about(request, self.scene.describe)

    async def normalization(self, request: Request) -> Response:
        """Fit a slide's colors."""
        return await self._about(request, self.scene.normalization)

    async def predictions(self, request: Request) -> Response:
        """The overlay of a slide."""
        slide = self._asked(request)
        if slide is None:
            return _problem(404, "no such slide")
        data = await self._in(self.aside, lambda: self.scene.predictions(slide))
        if data is None:
            return _problem(404, "no predictions of this slide")
        return await self._in(self.aside, lambda: _json(request, data))

    async def tile(self, request: Request) -> Response:
        """A tile as JPEG. Where nobody waits for it any more, it is not made."""
        name = self._tile_name(request)
        return _problem(404, "no such tile") if name is None else await self._show(request, name)

    async def thumbnail(self, request: Request) -> Response:
        """The tile that shows a whole slide, for the list."""
        slide = self._asked(request)
        if slide is None:
            return _problem(404, "no such slide")
        try:
            name = await self._in(self.aside, lambda: self.scene.thumbnail(slide))
        except SlideError as fault:
            return _fault(self.scene, fault)
        return _problem(404, "too large") if name is None else await self._show(request, name)

    async def _show(self, request: Request, name: TileName) -> Response:
        data = self.scene.kept(name)
        if data is None:
            await request.body()  # so that what is heard next is whether they have gone
            async with self.turns:
                if await request.is_disconnected():
                    return Response(status_code=GONE)
                try:
                    data = self.scene.kept(name) or await self._in(
                        self.pool, lambda: self.scene.tile(name)
                    )
                except SlideError as fault:
                    return _fault(self.scene, fault)
        if data is None:
            return _problem(404, "no such tile")
        is_named = self.scene.is_version(name.slide_id, request.query_params.get("v"))
        headers = {"Cache-Control": KEPT if is_named else "no-store"}
        return Response(data, media_type="image/jpeg", headers=headers)

    def _asked(self, request: Request) -> ViewedSlide | None:
        slide_id = request.query_params.get("slide")
        return None if slide_id is None else self.scene.slides.get(slide_id)

    def _tile_name(self, request: Request) -> TileName | None:
        slide, parameters = self._asked(request), request.path_params
        style = next((s for s in STYLES if s == parameters["style"]), None)
        texts = [parameters[name] for name in ("level", "column", "row")]
        is_number = all(text.isascii() and text.isdecimal() for text in texts)
        if slide is None or style not in self.scene.styles or not is_number:
            return None
        if max(map(len, texts)) > MOST_DIGITS:
            return None
        level, column, row = map(int, texts)
        return TileName(slide.slide_id, style, level, column, row)

    async def _about(
        self, request: Request, describe: Callable[[ViewedSlide], dict[str, Any]]
    ) -> Response:
        slide = self._asked(request)
        if slide is None:
            return _problem(404, "no such slide")
        try:
            return _json(request, _text(await self._in(self.aside, lambda: describe(slide))))
        except SlideError as fault:
            return _fault(self.scene, fault)

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], Made]) -> Made:
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    def close(self) -> None:
        """End the threads, and close the slides."""
        for pool in (self.pool, self.aside):
            pool.shutdown(cancel_futures=True)
        self.scene.close()


def viewer_app(
    scene: Scene,
    title: str,
    *,
    token: str | None = None,
    hosts: Collection[str] | None = LOCAL_NAMES,
    script: Script | None = None,
    threads: int | None = None,
) -> Starlette:
    """The application that shows a scene; see Guard for token and hosts."""
    script = script or openseadragon()
    viewer = Viewer(scene, title, script, threads or max(2, num_cores()))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        viewer.close()

    guard = Middleware(
        Guard, policy=content_policy(script.origin, IMAGES), token=token, hosts=hosts
    )
    routes = [
        Route("/", viewer.home),
        Route("/static/{name}", viewer.file),
        Route("/api/slides", viewer.slides),
        Route("/api/slide", viewer.slide),
        Route("/api/predictions", viewer.predictions),
        Route("/api/normalization", viewer.normalization),
        Route("/api/thumbnail", viewer.thumbnail),
        Route("/tiles/{style}/{level}/{column}/{row}", viewer.tile),
    ]
    return Starlette(routes=routes, middleware=[guard], lifespan=lifespan)


def _json(request: Request, data: bytes) -> Response:
    """JSON, which browsers do not keep, and which is compressed where it is long."""
    headers = {"Cache-Control": "no-store"}
    if len(data) > 2000 and "gzip" in request.headers.get("accept-encoding", ""):
        data = gzip.compress(data, 1)
        headers["Content-Encoding"] = "gzip"
    return Response(data, media_type="application/json", headers=headers)


def _fault(scene: Scene, fault: SlideError) -> Response:
    """Why a slide cannot be shown; not where it lies, which is the business of the server alone."""
    return _problem(422, scene.slides[fault.slide_id].without_folder(fault.reason))


def _text(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, allow_nan=False).encode()


def _problem(status: int, text: str) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(_text({"problem": text}), status, headers, media_type="application/json")
