"""Staged once is staged: a task that Ray repeats finds what its first life has written."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from operators.embed import EmbedSegments
from operators.lake.receipts import Receipts
from operators.lake.tables import Table
from operators.read import ReadAssets
from operators.sources.fetch import Fetcher
from operators.sources.listing import list_source
from operators.stage import StageRows
from operators.storage import Storage, join
from schemas.recipe import Recipe
from schemas.space import Space
from schemas.tables import space_schema
from tests.models.hashed import HashEngine, HashSpec

SPACE = Space(card=HashSpec().card, recipe=Recipe())


@pytest.fixture
def prepared(tmp_path: Path) -> pa.Table:
    """Blocks of a good text, one that the model fails on and one that is no text: asset and segment rows."""
    source = tmp_path / "in"
    source.mkdir()
    for name, text in {"a": "good", "b": "poison", "c": ""}.items():
        (source / f"{name}.txt").write_text(text)
    fetcher = Fetcher(storage=Storage(), grants={str(source): (str(source),)}, max_bytes=1 << 20)
    read = ReadAssets(fetcher=fetcher, spec=HashSpec(), recipe=Recipe())
    return pa.concat_tables(read(list_source(str(source), Storage()).table))


def test_a_block_is_found_again_when_exactly_it_was_staged(prepared: pa.Table, place: str) -> None:
    storage = Storage()
    table = Table(join(place, "t.lance"), storage)
    table.ensure(space_schema(SPACE))
    stage = StageRows(
        table=table,
        receipts=Receipts(join(place, "receipts"), storage),
        schema=table.open().schema,
        run_id="r",
    )
    embed = EmbedSegments(engine=HashEngine(), space=SPACE, token_budget=1 << 20)
    good = prepared.filter(pa.compute.ends_with(prepared["uri"], "a.txt"))
    assert stage.earlier(good) is None
    staged = stage(embed(good))
    assert stage.earlier(good) == staged
    assert staged["segments"].to_pylist() == [1]
    assert stage.earlier(good.slice(1)) is None, "a part of the block is another block"
    changed = good.set_column(
        good.schema.get_field_index("etag"), good.schema.field("etag"), [["other"] * len(good)]
    )
    assert stage.earlier(changed) is None, "same segments of another object"

    stage(embed(prepared))
    assert stage.earlier(prepared) is None, "what the model failed on is tried again"
