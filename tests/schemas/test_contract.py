"""The contract for consumers: the page is what the schemas say, and a change of either is seen."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas import contract
from schemas.contract import PAGE, filled
from schemas.export import DType, ExportSpec, export_schema
from schemas.recipe import Recipe
from schemas.space import Space
from schemas.tables import ASSETS, space_schema
from tests.models.hashed import HashSpec

AGAIN = (
    "the contract changes: python -m tests.schemas.test_contract, look at the diff, and tell the consumers"
)


def test_the_page_is_what_the_schemas_say() -> None:
    page = PAGE.read_text()
    assert filled(page) == page, AGAIN


@pytest.mark.parametrize(
    "changed",
    [
        ASSETS.set(0, ASSETS.field(0).with_name("url")),
        ASSETS.set(0, ASSETS.field(0).with_nullable(True)),
        ASSETS.set(0, ASSETS.field(0).with_type(pa.large_string())),
        ASSETS.remove(3),
    ],
    ids=["renamed", "nullable", "retyped", "removed"],
)
def test_a_change_of_a_column_changes_the_page(changed: pa.Schema, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "ASSETS", changed)
    page = PAGE.read_text()
    assert filled(page) != page


def test_an_export_has_the_table_s_columns_but_for_its_vectors() -> None:
    space = Space(card=HashSpec().card, recipe=Recipe())
    table = space_schema(space, [pa.field("author", pa.string())])
    spec = ExportSpec(corpus="demo", space=space.id, widths=(8,), dtype=DType.INT8)
    made = export_schema(table, space, spec)
    assert made.names == [
        *(n for n in table.names if not n.startswith("embedding_")),
        "embedding_8",
        "embedding_8_scale",
    ]
    assert all(made.field(n).equals(table.field(n)) for n in made.names if not n.startswith("embedding_"))
    assert made.field("embedding_8").type == pa.list_(pa.int8(), 8)
    assert Space.of(made).id == space.id


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
