"""The page's routes: JSON for its script, bytes for its players; all of it reads, none of it writes."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

import anyio
from pydantic import Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from jobs.explore.atlas import Atlas
from jobs.explore.faults import HANDLERS, REQUEST_SECONDS
from jobs.explore.model import BackgroundModel
from jobs.explore.uploads import MOST_BYTES, Uploads
from operators.isolation.decoders import Decoders
from pipelines.explore.ask import alike, ask, kind_of
from pipelines.explore.assets import Asset
from pipelines.explore.exhibit import Exhibit
from pipelines.explore.kept import Kept
from pipelines.explore.map import laid_out
from pipelines.explore.pictures import LIMITS, Pictures
from pipelines.query import Hit, Query
from schemas.card import Frozen, Modality
from schemas.errors import UsageError

T = TypeVar("T")
STATIC = Path(__file__).parent / "static"
SIDES = (480, 1400)
_MEMBER_BYTES = 128 << 20
_SEARCH_BYTES = 1 << 16
_INLINE = re.compile(r"(?:audio|video)/[\w.+-]+")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class QueryPart(Frozen):
    """Words, or the id of an uploaded file."""

    kind: Literal["text", "image", "audio", "video"]
    value: Annotated[str, Field(min_length=1, max_length=8_000)]


class Search(Frozen):
    """A question: parts, or a segment that the answers are like, or neither, to look around."""

    parts: Annotated[tuple[QueryPart, ...], Field(max_length=8)] = ()
    like: str | None = None
    modality: Modality | None = None
    where: Annotated[str | None, Field(max_length=2_000)] = None
    width: int | None = None
    limit: int = Field(default=24, ge=1, le=200)

    def query(self, widest: int) -> Query:
        """As the library asks it."""
        parts = tuple((part.kind, part.value) for part in self.parts)
        where, width = self.where or None, self.width or widest
        return Query(parts=parts, width=width, modality=self.modality, where=where, limit=self.limit)


@dataclass(frozen=True, slots=True)
class Routes:
    """The endpoints over one exhibit. Blocking work runs in threads: a few pictures, one question at a time."""

    exhibit: Exhibit
    model: BackgroundModel
    facts: dict[str, Any]
    pictures: Pictures
    uploads: Uploads = field(default_factory=Uploads)
    members: Kept = field(default_factory=lambda: Kept(_MEMBER_BYTES))
    decoders: Decoders = field(default_factory=lambda: Decoders(LIMITS))
    one_model: threading.Lock = field(default_factory=threading.Lock)
    asking: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))
    reading: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(8))
    showing: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(4))

    def routes(self) -> list[Route]:
        """Every one of them."""
        return [
            Route("/", self.page),
            Route("/static/{name:str}", self.static),
            Route("/api/lake", self.lake),
            Route("/api/search", self.search, methods=["POST"], max_body_size=_SEARCH_BYTES),
            Route("/api/uploads", self.upload, methods=["POST"], max_body_size=MOST_BYTES + 1),
            Route("/api/around", self.around),
            Route("/api/parts", self.parts),
            Route("/picture", self.picture),
            Route("/media", self.media),
            Route("/download", self.download),
        ]

    async def page(self, _request: Request) -> Response:
        """The page itself."""
        return FileResponse(STATIC / "index.html")

    async def static(self, request: Request) -> Response:
        """One of the page's own files, by its exact name."""
        name = request.path_params["name"]
        if name not in {file.name for file in STATIC.iterdir()}:
            raise HTTPException(404, "no such file")
        return FileResponse(STATIC / name)

    async def lake(self, _request: Request) -> Response:
        """What the lake holds, and whether the model is there."""
        return JSONResponse({**self.facts, "state": self.model.state, "detail": self.model.detail})

    async def search(self, request: Request) -> Response:
        """Hits as cards, best first."""
        try:
            asked = Search.model_validate_json(await request.body())
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        cards = await self._threaded(self.asking, self._cards, asked)
        return JSONResponse({"hits": cards})

    async def upload(self, request: Request) -> Response:
        """Keep a file as a part of a query: its id and what it is."""
        with anyio.fail_after(REQUEST_SECONDS):
            name, head = await self.uploads.take(request.stream())
        try:
            kind = kind_of(head, request.query_params.get("name", "the file"))
        except UsageError:
            self.uploads.drop(name)
            raise
        return JSONResponse({"id": name, "kind": kind})

    async def around(self, request: Request) -> Response:
        """The text around a chunk."""
        uri, ordinal = request.query_params.get("uri", ""), _whole(request, "ordinal", 0) or 0
        return JSONResponse(await self._threaded(self.reading, self.exhibit.around, uri, ordinal))

    async def parts(self, request: Request) -> Response:
        """The parts of an interleaved document."""
        asset = await self._asset(request)
        return JSONResponse({"parts": await self._threaded(self.reading, self.exhibit.parts, asset)})

    async def picture(self, request: Request) -> Response:
        """A JPEG of an asset, a page or a frame of it."""
        side = _whole(request, "side", SIDES[0])
        if side not in SIDES:
            raise UsageError(f"side is one of {', '.join(map(str, SIDES))}")
        asset, page, at_ms = (
            await self._asset(request),
            _whole(request, "page", None),
            _whole(request, "at_ms", 0),
        )
        made = await self._threaded(self.showing, self.pictures.jpeg, asset, side, page, at_ms or 0)
        return Response(made, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})

    async def media(self, request: Request) -> Response:
        """A sound or a video for a player, in ranges. Nothing else is ever served as what it says it is."""
        asset = await self._asset(request)
        kind = asset.media_type or ""
        if not _INLINE.fullmatch(kind):
            raise HTTPException(404, "neither a sound nor a video")
        return await self._bytes(request, asset, {"Content-Type": kind})

    async def download(self, request: Request) -> Response:
        """The original, to be saved and not shown."""
        asset = await self._asset(request)
        name = quote(asset.uri.rsplit("/", 1)[-1], safe="")
        disposition = f"attachment; filename*=UTF-8''{name}"
        headers = {"Content-Type": "application/octet-stream", "Content-Disposition": disposition}
        return await self._bytes(request, asset, headers)

    def _cards(self, asked: Search) -> list[dict[str, Any]]:
        # A question that took too long is left, and still runs: the next one waits for it.
        with self.one_model:
            return self.exhibit.cards(self._hits(asked))

    def _hits(self, asked: Search) -> list[Hit]:
        query = asked.query(self.exhibit.space.widths[0])
        if not asked.parts and asked.like is None:
            return self.exhibit.browse(asked.modality, query.where, asked.limit)
        searcher = self.model.searcher()
        if asked.like is not None:
            return alike(searcher, asked.like, query)
        with ExitStack() as stack:
            names = [part.value for part in asked.parts if part.kind != "text"]
            files = {name: stack.enter_context(self.uploads.open(name)) for name in names}
            return ask(searcher, query, files, self.decoders.decode)

    async def _asset(self, request: Request) -> Asset:
        """The asset that a request names: one that the corpus' table lists."""
        uri = request.query_params.get("uri", "")
        found = await self._threaded(self.reading, self.exhibit.assets.find, [uri])
        if uri not in found:
            raise HTTPException(404, "no such asset in the lake")
        return found[uri]

    async def _bytes(self, request: Request, asset: Asset, headers: dict[str, str]) -> Response:
        headers = {
            **headers,
            "Accept-Ranges": "bytes",
            "Content-Security-Policy": "sandbox; default-src 'none'",
        }
        if asset.container is None:
            size = await self._threaded(self.reading, self.exhibit.assets.size, asset)
        else:
            body = await self._threaded(self.reading, self._member, asset)
            size = len(body)
        asked = byte_range(request.headers.get("range"), size)
        start, stop = asked or (0, size)
        if start >= stop and asked:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        status, headers["Content-Length"] = 200, str(stop - start)
        if asked:
            status, headers["Content-Range"] = 206, f"bytes {start}-{stop - 1}/{size}"
        if asset.container is not None:
            return Response(body[start:stop], status, headers)
        blocks = self.exhibit.assets.blocks(asset, start, stop)
        return StreamingResponse(blocks, status, headers)

    def _member(self, asset: Asset) -> bytes:
        def read() -> bytes:
            with self.exhibit.assets.fetch(asset).file as file:
                body = file.read(_MEMBER_BYTES + 1)
            if len(body) > _MEMBER_BYTES:
                said = f"over {_MEMBER_BYTES >> 20} MB and in an archive: it is not shown from there"
                raise HTTPException(413, said)
            return body

        return self.members.get(asset.uri, read)

    async def _threaded(self, limiter: anyio.CapacityLimiter, work: Callable[..., T], *given: Any) -> T:
        with anyio.fail_after(REQUEST_SECONDS):
            return await anyio.to_thread.run_sync(
                partial(work, *given), limiter=limiter, abandon_on_cancel=True
            )


def application(exhibit: Exhibit, model: BackgroundModel) -> Starlette:
    """The application, without the guard around it."""
    routes = Routes(exhibit, model, exhibit.facts(), Pictures(exhibit.assets, exhibit.space))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        with ExitStack() as stack:
            for one in (routes.uploads, routes.pictures, routes.decoders):
                stack.enter_context(closing(one))
            yield

    atlas = Atlas(partial(laid_out, exhibit.reader, exhibit.corpus))
    return Starlette(
        routes=[*routes.routes(), *atlas.routes()], exception_handlers=HANDLERS, lifespan=lifespan
    )


def _whole(request: Request, name: str, default: int | None) -> int | None:
    """A number of a request.

    Raises:
        UsageError: it is not a whole number from 0.
    """
    given = request.query_params.get(name)
    if given is None:
        return default
    if not given.isascii() or not given.isdecimal() or len(given) > 12:
        raise UsageError(f"{name} is not a whole number")
    return int(given)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes `[start, stop)` that a Range header asks for, empty beyond the end; None where all are asked for.

    A header that names several ranges, or another unit, may be ignored: RFC 9110, 14.2.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(int(last) + 1, size) if last else size
