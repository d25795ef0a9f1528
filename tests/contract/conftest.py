"""A lake with two nights behind it, and exports of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from operators.storage import join
from pipelines.connect import LancePlace, ParquetPlace, lance_place, parquet_place
from pipelines.export.parquet import export_parquet
from pipelines.export.spec import check_spec
from pipelines.reader import LakeReader
from schemas.export import DType, ExportSpec
from tests.pipelines.wear import CORPUS, Worn, texts

Places = Callable[[str], "LancePlace | ParquetPlace"]
WIDTH = 8


@pytest.fixture
def worn(place: str) -> Worn:
    made = Worn(join(place, "it's a lake"))
    made.night(texts(*"abcd"))
    made.night(texts(*"bcd") | {"s/b.txt": "words 'quoted'"})
    return made


@pytest.fixture
def places(worn: Worn, place: str) -> Places:
    """What is read, by its name: `lance`, or the value type of a Parquet export."""

    def make(name: str) -> LancePlace | ParquetPlace:
        reader = LakeReader.open(worn.lake)
        space = worn.space.id
        if name == "lance":
            return lance_place(reader, CORPUS, space, width=WIDTH)
        spec = ExportSpec(
            corpus=CORPUS, space=space, widths=(WIDTH,), dtype=DType(name), partition="modality"
        )
        target = join(place, f"it's out {name}")
        export_parquet(reader, check_spec(reader, spec), target)
        return parquet_place(target)

    return make
