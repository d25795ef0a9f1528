"""Nights over a dictionary of texts, without Ray: the real ledger, plan and receipts, dead at any point if asked."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from operators.embed import widths
from operators.lake import erasure
from operators.lake import files as lake_files
from operators.lake.files import find
from operators.lake.layout import Layout
from operators.lake.log import CatalogLog
from operators.lake.tables import Table
from operators.parts import Part, PartKind
from operators.stage import StageRows
from operators.storage import Storage, join
from pipelines.forget import forgotten_mask
from pipelines.ledger import Ledger
from pipelines.listing import combine
from pipelines.plan import DIFFED, diff
from pipelines.reader import LakeReader
from pipelines.reconcile import Attempts
from schemas.corpus import Backfill
from schemas.errors import LakeError
from schemas.recipe import Recipe
from schemas.space import Space
from schemas.tables import LISTING, PREPARED
from tests.models.hashed import HashSpec

EVER = datetime.max.replace(tzinfo=UTC)
CORPUS = "demo"
SPEC = HashSpec("worn")
SPACE = Space(card=SPEC.card, recipe=Recipe())
BATCH = 4
Death = Literal["staging", "staged", "committed"]


@dataclass(frozen=True)
class Worn:
    """A lake and its nights. Each asset is two segments; the text `bad` cannot be decoded.

    With a `backfill` the nights are of a space beside the live one.
    """

    lake: str
    storage: Storage = Storage()
    spec: HashSpec = SPEC
    backfill: Backfill | None = None
    batch: int = BATCH

    @property
    def space(self) -> Space:
        return Space(card=self.spec.card, recipe=Recipe())

    def night(self, texts: dict[str, str], dies: Death | None = None) -> int:
        """One run over these texts; how many segments it embedded itself. It may die at a point."""
        listing = combine([_listing(texts)])
        ledger = Ledger.begin(self.lake, CORPUS, self.space, [], self.storage, self.backfill)
        assets = ledger.assets_table.open(ledger.state.assets_version).to_table(columns=list(DIFFED))
        mask = forgotten_mask(self.lake, CORPUS, pl.Series(listing["uri"]), self.storage)
        plan = diff(listing, assets, ["s"], forgotten=mask)
        if plan.empty:
            return 0
        run_id = plan.run_id(self.space.id, ledger.state.revision, {})
        receipts = ledger.receipts(run_id)
        left, staged = Attempts(receipts.read_all(), plan.work).remaining()
        known = set(staged["segment_id"])
        rows = [
            r
            for uri in left["uri"].to_pylist()
            for r in _rows(uri, texts[uri])
            if r["segment_id"] not in known
        ]
        stage = StageRows(table=ledger.space_table, receipts=receipts, schema=ledger.schema(), run_id=run_id)
        for start in range(0, len(rows), self.batch):
            stage(_embedded(rows[start : start + self.batch], self.spec, ledger.stored()))
            if dies == "staging":
                return 0
        if dies == "staged":
            return 0
        log = ledger.log.layout.log(CORPUS, run_id)
        self.storage.put(log, "".join(f"read {uri}\n" for uri in left["uri"].to_pylist()).encode())
        result = Attempts(receipts.read_all(), plan.work).reconcile(ledger.space_table)
        change = ledger.commit(run_id, result.assets, result.fragments, [*plan.known, *plan.deleted])
        if dies == "committed":
            return 0
        self.storage.put(ledger.log.layout.report(CORPUS, run_id), b"{}")
        ledger.announce(change)
        return sum(row["kind"] == "segment" for row in rows)

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """What readers see, without the names of runs."""
        reader = LakeReader.open(self.lake, self.storage)
        found = {"segments": reader.segments(CORPUS).to_table(), "assets": reader.assets(CORPUS).to_table()}
        return {
            name: sorted(
                table.drop_columns(["run_id"]).to_pylist(), key=lambda r: (r["uri"], r.get("ordinal", 0))
            )
            for name, table in found.items()
        }

    def bytes(self) -> bytes:
        """Every byte of the lake."""
        return b"\n".join(self.storage.read(file.uri) for file in find(self.storage, self.lake))

    def log(self) -> CatalogLog:
        return CatalogLog(Layout(self.lake), self.storage)

    def files(self, *below: str) -> list[str]:
        return [file.uri for file in find(self.storage, join(self.lake, CORPUS, *below))]


def vector(text: str, ordinal: int, spec: HashSpec = SPEC) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The widest vector of a segment."""
    made = spec.load().embed([(Part(PartKind.TEXT, text=_words(text, ordinal)),)])
    return np.asarray(made[0] / np.linalg.norm(made[0]), np.float32)


def texts(*names: str, version: str = "one") -> dict[str, str]:
    """Texts whose words are their own."""
    return {f"s/{name}.txt": f"secret{name} {version}" for name in names}


def _words(text: str, ordinal: int) -> str:
    return f"{text} part{ordinal}"


def _listing(given: dict[str, str]) -> pa.Table:
    rows = [{"uri": u, "source": "s", "size": len(t), "etag": _hash(t)} for u, t in sorted(given.items())]
    return pa.Table.from_pylist(rows, schema=LISTING)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _rows(uri: str, text: str) -> list[dict[str, Any]]:
    own = {"uri": uri, "source": "s", "size": len(text), "etag": _hash(text), "content_hash": _hash(text)}
    if text == "bad":
        error = {"error_stage": "decode", "error_code": "corrupt", "error_detail": f"cannot read {uri}"}
        return [{**own, **error, "kind": "asset", "segment_id": None, "status": "quarantined", "segments": 0}]
    segments = [
        {**own, "kind": "segment", "segment_id": _hash(f"{uri} {text} {n}"), "modality": "text", "ordinal": n,
         "text": _words(text, n), "tokens": 3}
        for n in range(2)
    ]  # fmt: skip
    ended = {"kind": "asset", "segment_id": None, "modality": "text", "status": "embedded", "segments": 2}
    return [*segments, {**own, **ended}]


def _embedded(rows: list[dict[str, Any]], spec: HashSpec, space: Space) -> pa.Table:
    table = pa.table(
        {f.name: pa.array([r.get(f.name) for r in rows], f.type) for f in PREPARED if f.name != "parts"}
    )
    is_segment = np.array([row["kind"] == "segment" for row in rows])
    full = np.zeros((len(rows), space.card.dim), np.float32)
    parts = [(Part(PartKind.TEXT, text=row["text"]),) for row in rows if row["kind"] == "segment"]
    if parts:
        made = spec.load().embed(parts)
        full[is_segment] = made / np.linalg.norm(made, axis=1, keepdims=True)
    for field, column in zip(space.vector_fields, widths(full, space, is_segment), strict=True):
        table = table.append_column(field, column)
    return table


class Killed(BaseException):
    """The process is gone."""


Dying = Callable[[Callable[..., Any]], Callable[..., Any]]


def dying(step: int, spared: str = "") -> Dying:
    """Makes calls that count together, and die before the n-th; what is about `spared` does not count."""
    count = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal count
            if not spared or spared not in str(given[1:2]):
                count += 1
                if count >= step:
                    raise Killed
            return real(*given, **named)

        return call

    return counted


def die_before(patch: pytest.MonkeyPatch, step: int, batch: int = 10) -> None:
    """Count what changes the lake, and die before the n-th change."""
    counted = dying(step, spared="lease")
    patch.setattr(Storage, "put", counted(Storage.put))
    patch.setattr(Storage, "put_if_absent", counted(Storage.put_if_absent))
    patch.setattr(lake_files, "_delete", counted(lake_files._delete))
    patch.setattr(Table, "replace", counted(Table.replace))
    patch.setattr(Table, "overwrite", counted(Table.overwrite))
    patch.setattr(Table, "tag_live", counted(Table.tag_live))
    patch.setattr(erasure, "rewrite", counted(erasure.rewrite))
    patch.setattr(lake_files, "_BATCH", batch)


@contextmanager
def polled(worn: Worn) -> Iterator[list[int]]:
    """How many segments a reader finds, again and again while the block runs; one whose version goes reads again."""
    seen: list[int] = []
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(0.01):
            with suppress(LakeError, OSError, ValueError):
                seen.append(LakeReader.open(worn.lake).segments(CORPUS).to_table(columns=["uri"]).num_rows)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
