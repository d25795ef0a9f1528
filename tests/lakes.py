"""Lakes made by hand, table by table, for suites that only read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.embed import EmbedSegments, widths
from operators.lake.layout import Layout
from operators.lake.log import CatalogLog
from operators.lake.tables import Table
from operators.model.contract import ModelSpec
from operators.parts import Part, PartKind
from operators.read import ReadAssets
from operators.sources.fetch import Fetcher
from operators.sources.listing import list_sources
from operators.stage import StageRows
from operators.storage import Storage
from pipelines.ledger import Ledger
from pipelines.listing import combine
from pipelines.plan import DIFFED, diff
from pipelines.reconcile import Attempts
from schemas.catalog import Opened, Published
from schemas.recipe import Recipe
from schemas.space import Space, VectorType
from schemas.tables import ASSETS, space_schema
from tests.models.hashed import HashEngine, HashSpec

SPEC = HashSpec("one")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def make_lake(
    lake: str,
    texts: Mapping[str, str | None],
    corpus: str = "demo",
    model_id: str = SPEC.card.model_id,
    vectors: npt.NDArray[np.float32] | None = None,
    ids: dict[str, str] | None = None,
    spec: HashSpec = SPEC,
    vector_type: VectorType = "float32",
) -> Space:
    """A corpus of one text segment for each URI, published by run `r1`; the URI `bad` is quarantined.

    `vectors` [texts, width] are the model's when None, and a segment's id is its URI where `ids` has none.
    """
    card = spec.card if spec is not SPEC else SPEC.card.model_copy(update={"model_id": model_id})
    space = Space(card=card, recipe=Recipe(), vector_type=vector_type)
    publish(lake, corpus, space, _segments(space, texts, vectors, ids or {}), _assets(texts))
    return space


def publish(
    lake: str, corpus: str, space: Space, rows: pa.Table | pa.RecordBatchReader, assets: pa.Table
) -> None:
    """Make a corpus of one space with these rows, as run `r1` would have published them."""
    layout, storage = Layout(lake), Storage()
    segment_table = Table(layout.space(corpus, space.id), storage)
    asset_table = Table(layout.assets(corpus, space.id), storage)
    opened = (segment_table.ensure(space_schema(space)).version, asset_table.ensure(ASSETS).version)
    log = CatalogLog(layout, storage)
    state = log.append(log.read(), Opened(corpus=corpus, space=space.id, space_version=opened[0],
                                          assets_version=opened[1], at=NOW))  # fmt: skip
    versions = (
        segment_table.commit("r1", opened[0], segment_table.stage(rows), []),
        asset_table.commit("r1", opened[1], asset_table.stage(assets), []),
    )
    log.append(state, Published(corpus=corpus, space=space.id, space_version=versions[0],
                                assets_version=versions[1], run_id="r1", at=NOW))  # fmt: skip


def embed_here(lake: str, sources: list[str], spec: ModelSpec, corpus: str = "demo") -> Space:
    """One run over real sources, published: the real operators and ledger in this process, without Ray."""
    storage = Storage()
    listed = list_sources(sources, storage, (), lake)
    grants = {one.source: one.roots for one in listed}
    listing = combine([one.table for one in listed])
    fields = list(listing.schema.field("metadata").type) if "metadata" in listing.column_names else []
    space = Space(card=spec.card, recipe=Recipe())
    ledger = Ledger.begin(lake, corpus, space, fields, storage)
    assets = ledger.assets_table.open(ledger.state.assets_version).to_table(columns=list(DIFFED))
    plan = diff(listing, assets, list(grants))
    run_id = plan.run_id(space.id, ledger.state.revision, grants)
    receipts = ledger.receipts(run_id)
    fetcher = Fetcher(storage=storage, grants=grants, max_bytes=space.recipe.max_asset_bytes)
    embed = EmbedSegments(engine=spec.load(), space=ledger.stored(), token_budget=16_384)
    stage = StageRows(table=ledger.space_table, receipts=receipts, schema=ledger.schema(), run_id=run_id)
    for block in ReadAssets(fetcher=fetcher, spec=spec, recipe=space.recipe)(plan.work):
        stage(embed(block))
    result = Attempts(receipts.read_all(), plan.work).reconcile(ledger.space_table)
    ledger.announce(ledger.commit(run_id, result.assets, result.fragments, [*plan.known, *plan.deleted]))
    return space


def _segments(
    space: Space,
    texts: Mapping[str, str | None],
    vectors: npt.NDArray[np.float32] | None,
    ids: dict[str, str],
) -> pa.Table:
    if vectors is None:
        vectors = HashEngine().embed([(Part(PartKind.TEXT, text=text),) for text in texts.values()])
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        {"segment_id": ids.get(uri, uri), "uri": uri, "modality": "text", "ordinal": 0, "text": text, "tokens": 1,
         "char_start": 0, "char_end": len(text or ""), "run_id": "r1"}
        for uri, text in texts.items()
    ]  # fmt: skip
    schema = space_schema(space)
    made = dict(
        zip(
            (f.name for f in space.vector_fields),
            widths(vectors, space, np.full(len(rows), True)),
            strict=True,
        )
    )
    return pa.table({f.name: made.get(f.name, _column(rows, f)) for f in schema}, schema=schema)


def _assets(texts: Mapping[str, str | None]) -> pa.Table:
    rows: list[dict[str, Any]] = [
        {
            "uri": uri,
            "source": "s",
            "size": 3,
            "status": "embedded",
            "segments": 1,
            "tokens": 1,
            "run_id": "r1",
        }
        for uri in texts
    ]
    rows.append({**rows[0], "uri": "bad", "status": "quarantined", "error_code": "corrupt", "segments": 0})
    return pa.table({f.name: _column(rows, f) for f in ASSETS}, schema=ASSETS)


def _column(rows: list[dict[str, Any]], field: pa.Field) -> pa.Array:
    return pa.array([row.get(field.name) for row in rows], field.type)
