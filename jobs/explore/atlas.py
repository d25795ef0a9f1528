"""The map of a corpus: Embedding Atlas' own page over a layout of the lake's vectors, read-only and offline."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from pipelines.explore.kept import Kept

MISSING = "the map needs an extra: pip install 'embedlake[atlas]', and start again"
_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PROPS = {
    "data": {"table": "dataset", "id": "id", "projection": {"x": "x", "y": "y"}, "text": "text"},
    "defaultChartsConfig": {
        "embedding": {"data": {"x": "x", "y": "y", "text": "text", "category": "modality"}},
        "exclude": ["id", "where", "uri", "segment_id"],
    },
}
_DATASET_BYTES = 256 << 20


class Atlas:
    """Its page's files, and the two that it asks for its data. Nothing can be written, and no query is run here."""

    def __init__(self, layout: Callable[[], pa.Table]) -> None:
        self._layout, self._made = layout, Kept(_DATASET_BYTES)
        self._one = anyio.CapacityLimiter(1)
        found = find_spec("embedding_atlas")
        self._files = Path(found.origin).parent / "static" if found and found.origin else None

    def routes(self) -> list[Route]:
        """Below `/map/`."""
        return [
            Route("/map/data/metadata.json", self.metadata),
            Route("/map/data/dataset.parquet", self.dataset),
            Route("/map/{name:path}", self.file),
        ]

    async def metadata(self, _request: Request) -> Response:
        """What the page has to know of the data: DuckDB runs in the browser."""
        return JSONResponse({"props": _PROPS, "database": {"type": "wasm", "load": True}})

    async def dataset(self, _request: Request) -> Response:
        """The layout as Parquet, made when it is first asked for."""
        body = await anyio.to_thread.run_sync(lambda: self._made.get("all", self._parquet), limiter=self._one)
        return Response(body, media_type="application/octet-stream")

    async def file(self, request: Request) -> Response:
        """One of the page's own files."""
        if self._files is None:
            raise HTTPException(501, MISSING)
        root = self._files.resolve()
        wanted = (root / (request.path_params["name"] or "index.html")).resolve()
        if not wanted.is_relative_to(root) or not wanted.is_file():
            raise HTTPException(404, "no such file")
        return FileResponse(
            wanted, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "private, max-age=3600"}
        )

    def _parquet(self) -> bytes:
        out = io.BytesIO()
        pq.write_table(self._layout(), out)
        return out.getvalue()
