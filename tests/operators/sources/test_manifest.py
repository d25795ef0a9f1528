"""Manifests: what a person's file may hold, and one clear line for what it may not."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.sources.listing import list_source
from operators.storage import Storage
from schemas.errors import EmbedlakeError, SourceError, UsageError


def listed(folder: Path, name: str, body: bytes) -> pa.Table:
    (folder / name).write_bytes(body)
    return list_source(str(folder / name), Storage()).table


def jsonl(*rows: Any) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def parquet(columns: list[pa.Array], names: list[str]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns, names=names), out)
    return out.getvalue()


def test_keys_of_later_lines_are_columns_too(tmp_path: Path) -> None:
    table = listed(
        tmp_path, "m.jsonl", jsonl({"uri": "a"}, {"uri": "b", "year": 1}, {"uri": "c", "who": "x"})
    )
    assert table["metadata"].to_pylist() == [
        {"year": None, "who": None},
        {"year": 1, "who": None},
        {"year": None, "who": "x"},
    ]


def test_documents_may_have_parts_alone_and_ids_on_later_lines(tmp_path: Path) -> None:
    body = jsonl({"parts": ["a"]}, {"parts": ["b"], "id": 7}) + b"\n\n" + jsonl({"parts": ["c"]})
    table = listed(tmp_path, "m.jsonl", body)
    names = [uri.partition("#")[2] for uri in table["uri"].to_pylist()]
    assert names == ["line-1", "7", "line-4"]
    assert "metadata" not in table.column_names
    assert [json.loads(raw)["parts"] for raw in table["inline"].to_pylist()] == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"uri": "a"}, {"parts": ["x"]}], "line 2 has 'parts' and line 1 has 'uri'"),
        ([{"parts": ["x"]}, {"parts": ["y"]}, {"uri": "a"}], "line 3 has 'uri' and line 1 has 'parts'"),
        ([{"parts": ["x"]}, {"id": 1}], "line 2 has neither 'uri' nor 'parts' and line 1 has 'parts'"),
        ([{"parts": ["x"], "uri": "a"}], "line 1 has both 'uri' and 'parts'"),
        ([{"uri": "a", "n": 2**63}], "column 'n' holds an integer of more than 64 bits"),
        ([{"uri": "a", "n": {"deep": [2**64]}}], "column 'n' holds an integer of more than 64 bits"),
        ([{"uri": "a", "n": 1}, {"uri": "b", "n": "x"}], "column 'n' has no one type"),
        ([{"uri": "a"}, 3], "line 2 is not a JSON object"),
        ([{"uri": "a", "": 1}], "empty name"),
        ([{"uri": "a", "a.b": 1}], "'a.b' has a '.' or starts with '_'"),
        ([{"uri": "a", "_rowid": 1}], "'_rowid' has a '.' or starts with '_'"),
        ([{"uri": "a", "Text": 1}], "'Text' has a reserved name"),
        ([{"uri": "a", "Embedding_768": 1}], "'Embedding_768' has a reserved name"),
        ([{"parts": ["x"], "TOKENS": 1}], "'TOKENS' has a reserved name"),
    ],
)
def test_jsonl_that_cannot_be_a_manifest_is_one_line(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises((SourceError, UsageError), match=message) as error:
        listed(tmp_path, "m.jsonl", jsonl(*rows))
    assert "m.jsonl" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="line 2"):
        listed(tmp_path, "m.jsonl", b'{"uri": "a"}\n{"uri": \n')


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, kind: str) -> None:
    columns = [pa.array(["a"]), pa.array(["x"]), pa.array(["y"])]
    body = b"uri,who,who\na,x,y\n" if kind == "csv" else parquet(columns, ["uri", "who", "who"])
    with pytest.raises(SourceError, match=f"m.{kind} has two columns named 'who'"):
        listed(tmp_path, f"m.{kind}", body)


def test_views_and_dictionaries_in_parquet_are_plain_columns(tmp_path: Path) -> None:
    body = parquet(
        [
            pa.array(["a"], pa.string_view()),
            pa.array(["x"], pa.string_view()),
            pa.array([b"y"], pa.binary_view()),
            pa.array(["z"]).dictionary_encode(),
            pa.array([["l"]], pa.list_(pa.string_view())),
        ],
        ["uri", "text_view", "bytes_view", "coded", "many"],
    )
    metadata = listed(tmp_path, "m.parquet", body)["metadata"]
    kinds = {field.name: field.type for field in metadata.type}
    assert kinds == {
        "text_view": pa.string(),
        "bytes_view": pa.binary(),
        "coded": pa.string(),
        "many": pa.list_(pa.string()),
    }
    assert metadata.to_pylist() == [{"text_view": "x", "bytes_view": b"y", "coded": "z", "many": ["l"]}]


def test_a_map_in_parquet_is_refused_by_name(tmp_path: Path) -> None:
    body = parquet(
        [pa.array(["a"]), pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))], ["uri", "tags"]
    )
    with pytest.raises(SourceError, match=r"m\.parquet: column 'tags' holds a map"):
        listed(tmp_path, "m.parquet", body)


def test_a_blank_column_has_no_type_and_is_left_out(tmp_path: Path) -> None:
    table = listed(tmp_path, "m.csv", b"uri,year,blank\na,1999,\nb,2001,\n")
    assert table["metadata"].to_pylist() == [{"year": 1999}, {"year": 2001}]
    assert "metadata" not in listed(tmp_path, "n.csv", b"uri,blank\na,\n").column_names


def test_uris_and_etags_of_digits_stay_as_written(tmp_path: Path) -> None:
    table = listed(tmp_path, "m.csv", b"uri,id,size,etag\n0012,01,3,0070\n0013,02,4,0071\n")
    assert table["uri"].to_pylist() == [str(tmp_path / "0012"), str(tmp_path / "0013")]
    assert table["etag"].to_pylist() == ["0070", "0071"]
    assert table["size"].to_pylist() == [3, 4]


def test_a_size_that_is_no_number_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EmbedlakeError, match=r"m\.csv: column 'size' is not int64"):
        listed(tmp_path, "m.csv", b"uri,size,etag\na,big,x\n")


@pytest.mark.parametrize("name", ["A.CSV", "a.Csv"])
def test_a_manifest_s_suffix_may_be_in_capitals(tmp_path: Path, name: str) -> None:
    assert listed(tmp_path, name, b"uri\nx\n")["uri"].to_pylist() == [str(tmp_path / "x")]
    body = parquet([pa.array(["y"])], ["uri"])
    assert listed(tmp_path, "B.PARQUET", body)["uri"].to_pylist() == [str(tmp_path / "y")]
    assert listed(tmp_path, "C.JSONL", jsonl({"uri": "z"}))["uri"].to_pylist() == [str(tmp_path / "z")]
