"""Rows by a template, located by their numbers; a malformed file is refused with the line."""

from __future__ import annotations

import io
import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from operators.decode import text
from operators.decode.registry import decode
from operators.parts import Segment
from schemas.errors import ErrorCode
from schemas.recipe import Recipe, RowsRecipe
from tests.operators.decode.pages import Words, make_card
from tests.operators.decode.texts import TABLE, arrow_file, csv_file, decoded, failure, opener, parquet_file

TEMPLATED = RowsRecipe(template="{title}: {body}")


def rows(segments: list[Segment]) -> list[tuple[int | None, int | None, str | None]]:
    return [(s.locator.row_start, s.locator.row_end, s.text) for s in segments]


def test_a_row_is_a_segment_with_a_line_for_each_value() -> None:
    assert rows(decoded(csv_file(), "a.csv")) == [
        (0, 1, 'title: Herring\nbody: a small, "silver" fish\nof the sea'),
        (1, 2, "title: Cod\nbody: larger"),
    ]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (csv_file(), "a.csv"),
        (csv_file(";"), "a.csv"),
        (csv_file("|"), "https://host/a.CSV?x=1"),
        (csv_file("\t"), "a.tsv"),
        (b"sep=;\n" + csv_file(";"), "a.csv"),
        (csv_file().decode().encode("utf-16"), "a.csv"),
        (csv_file().replace(b"\r\n", b"\r"), "a.csv"),
        (b'{"title": "Herring", "body": "x"}\n\n{"title": "Cod", "body": "larger"}', "a.jsonl"),
        (parquet_file(), "a"),
        (arrow_file(), "a"),
        (arrow_file(stream=True), "a"),
    ],
)
def test_the_template_gives_the_text_whatever_holds_the_rows(data: bytes, name: str) -> None:
    found = decoded(data, name, rows=TEMPLATED)
    assert [(s.locator.row_start, (s.text or "")[:8]) for s in found] == [(0, "Herring:"), (1, "Cod: lar")]


def test_rows_share_a_segment_by_the_recipe() -> None:
    lines = "".join(json.dumps({"n": i}) + "\n" for i in range(5)).encode()
    found = decoded(lines, "a.jsonl", rows=RowsRecipe(per_segment=2))
    assert rows(found) == [(0, 2, "n: 0\n\nn: 1"), (2, 4, "n: 2\n\nn: 3"), (4, 5, "n: 4")]


def test_a_row_over_the_budget_is_cut_and_says_where() -> None:
    line = json.dumps({"body": "many words " * 40}).encode()
    found = decoded(line, "a.jsonl", tokens=16)
    assert len(found) > 4
    assert {(s.locator.row_start, s.locator.row_end) for s in found} == {(0, 1)}
    assert all(s.locator.char_end - s.locator.char_start == len(s.text or "") for s in found)
    assert decoded(line, "a.jsonl", tokens=200)[0].locator.char_start is None


def test_values_of_any_kind_are_shown_and_empty_ones_are_not() -> None:
    value = {"a": None, "b": "", "c": [1, "é"], "d": {"x": True}, "e": 1.5, "f": False}
    (segment,) = decoded(json.dumps(value).encode(), "a.jsonl")
    assert segment.text == 'c: [1, "é"]\nd: {"x": true}\ne: 1.5\nf: false'
    assert rows(decoded(b'"bare"\n[1]\n{}\n', "a.jsonl")) == [(0, 1, "bare"), (1, 2, "[1]")]
    assert decoded(parquet_file(), "a")[1].text == "title: Cod\nbody: larger", "bytes and nulls are left out"


def test_columns_without_or_with_the_same_name_are_told_apart() -> None:
    assert decoded(b"a,,a\n1,2,3\n", "a.csv")[0].text == "a: 1\n2: 2\na (2): 3"
    bare = decoded(b"1;2\n3;4\n", "a.csv", rows=RowsRecipe(header=False))
    assert [s.text for s in bare] == ["1: 1\n2: 2", "1: 3\n2: 4"]


@pytest.mark.parametrize(
    ("data", "name", "code", "says"),
    [
        (b"a,b\n1,2\n3\n", "a.csv", ErrorCode.CORRUPT, "line 3 has 1 cells"),
        (b"a,b\n1,2,3\n", "a.csv", ErrorCode.CORRUPT, "line 2 has 3 cells"),
        (b'a,b\n1,"2\n3,4\n', "a.csv", ErrorCode.CORRUPT, "unexpected end of data"),
        (b'a,b\n"' + b"x" * 2000, "a.csv", ErrorCode.LIMIT, "field limit"),
        (b"a,b\n", "a.csv", ErrorCode.EMPTY, "without a row"),
        (b'{"a": 1}\n{"a": \n', "a.jsonl", ErrorCode.CORRUPT, "line 2 is not JSON"),
        (b"[" * 900, "a.jsonl", ErrorCode.CORRUPT, "line 1"),
        (b"\n\n", "a.jsonl", ErrorCode.EMPTY, "row"),
        (b'{"a": "' + b"x" * 2000 + b'"}', "a.jsonl", ErrorCode.LIMIT, "row 0 has 2003 characters"),
        (b'{"a": "' + b"x" * 9000 + b'"}', "a.jsonl", ErrorCode.LIMIT, "line 1 is longer"),
        (parquet_file()[:-30], "a", ErrorCode.CORRUPT, "Parquet"),
        (parquet_file(TABLE.slice(0, 0)), "a", ErrorCode.EMPTY, "row"),
        (b"PARE\x15" + bytes(40), "a", ErrorCode.ENCRYPTED, "encrypted"),
        (arrow_file()[:-90], "a", ErrorCode.CORRUPT, "Arrow"),
        (arrow_file(stream=True)[:-200], "a", ErrorCode.CORRUPT, "Arrow"),
    ],
)
def test_a_malformed_file_is_refused_with_the_place(
    data: bytes, name: str, code: ErrorCode, says: str
) -> None:
    error = failure(data, name, rows=RowsRecipe(max_chars=1000))
    assert error.code is code
    assert says in error.detail


@pytest.mark.parametrize(
    ("data", "name"),
    [(b"x,y\n1,2\n", "a.csv"), (parquet_file(TABLE.select(["n"])), "a"), (b"3\n", "a.jsonl")],
)
def test_a_template_that_wants_a_missing_column_is_named(data: bytes, name: str) -> None:
    error = failure(data, name, rows=TEMPLATED)
    assert error.code is ErrorCode.INVALID_DOCUMENT
    assert "'title'" in error.detail


@pytest.mark.parametrize("template", ["no columns", "{}", "{a.b!r}", "{a:>9}", "{a"])
def test_a_template_names_columns_and_nothing_else(template: str) -> None:
    with pytest.raises(ValidationError):
        RowsRecipe(template=template)


def test_a_template_cannot_reach_into_values() -> None:
    (segment,) = decoded(b'{"a.__class__": "literal"}', "a.jsonl", rows=RowsRecipe(template="<{a}>"))
    assert segment.text == "<>"


def test_an_arrow_file_with_wrong_offsets_is_corrupt() -> None:
    out = io.BytesIO()
    table = pa.table({"a": ["abc", "de"]})
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    offsets = np.array([0, 3, 5], np.int32)
    wrong = np.array([0, 1 << 30, 5], np.int32)
    assert out.getvalue().count(offsets.tobytes()) == 1
    assert failure(out.getvalue().replace(offsets.tobytes(), wrong.tobytes())).code is ErrorCode.CORRUPT


_PAD = b"x" * 80


def _many(kind: str, count: int) -> bytes:
    if kind == "csv":
        return b"a,b\n" + b"".join(b"late,request %d%s\n" % (i, _PAD) for i in range(count))
    if kind == "jsonl":
        return b"".join(b'{"a": "late request %d%s"}\n' % (i, _PAD) for i in range(count))
    out = io.BytesIO()
    pq.write_table(
        pa.table({"a": [f"late request {i}{_PAD!r}" for i in range(count)]}), out, row_group_size=100
    )
    return out.getvalue()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_memory_does_not_grow_with_the_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", 4096)

    def peak(count: int) -> int:
        file = io.BytesIO(_many(kind, count))
        tracemalloc.start()
        _, segments = decode(file, f"x.{kind}", Recipe(), make_card(), Words(), opener({}))
        assert sum(1 for _ in segments) == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1_500)
    assert peak(4_500) < peak(1_500) * 1.1


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_a_title_above_the_header_goes_before_the_first_row(delimiter: str) -> None:
    table = csv_file(delimiter)
    first, second = rows(decoded(b"Sales of the harbour\r\n\r\n" + table, "a.csv"))
    plain = rows(decoded(table, "a.csv"))
    assert first == (0, 1, f"Sales of the harbour\n{plain[0][2]}")
    assert second == plain[1]
    found = decoded(b"Sales\r\n" + table, "a.csv", rows=TEMPLATED)
    assert [s.text for s in found] == [s.text for s in decoded(table, "a.csv", rows=TEMPLATED)]


def test_uneven_rows_say_the_line_and_the_way_out() -> None:
    error = failure(b"Sales\na,b\n" + b"1,2\n" * 30 + b"1,2,3\n", "a.csv")
    assert (error.code, error.detail.split(";")[0]) == (
        ErrorCode.CORRUPT,
        "line 33 has 3 cells, the first row 2",
    )
    assert "take out the lines above the header" in error.detail
    assert failure(b"a,b,c\n1,2,3,4\n5,6,7,8\n", "a.csv").code is ErrorCode.CORRUPT, "no title: a lost column"


def test_half_a_surrogate_pair_costs_one_character() -> None:
    data = b'{"a\\udc00": "x \\ud800 y", "b": "\\ud83d\\ude00"}\n{"c": ["\\ud800"]}\n'
    assert [s.text for s in decoded(data, "a.jsonl")] == [
        "a\ufffd: x \ufffd y\nb: \U0001f600",
        'c: ["\ufffd"]',
    ]
