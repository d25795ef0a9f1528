"""The lines that `embedlake connect` prints run as they are, on disk and on S3, and hold no secret."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest

from pipelines.connect import lines, written
from schemas.errors import UsageError
from schemas.export import Tool
from tests.contract.conftest import Places

HERE = [Tool.DUCKDB, Tool.POLARS, Tool.PANDAS, Tool.PYARROW, Tool.LANCEDB, Tool.DATAFUSION]
has_spark = importlib.util.find_spec("pyspark") is not None and shutil.which("java") is not None


def run(text: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    exec(compile(text, "<lines>", "exec"), {"__name__": "lines"})
    return capsys.readouterr().out


@pytest.mark.parametrize("source", ["lance", "int8"])
def test_printed_lines_run_and_find_the_rows(
    source: str, places: Places, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = places(source)
    found = {tool: text for tool, text in written(place, None).items() if tool in HERE}
    assert len(found) >= 5
    for tool, text in found.items():
        out = run(text, capsys)
        assert "s/c.txt" in out, tool
        assert "s/a.txt" not in out, f"{tool} read a row that is gone"


@pytest.mark.usefixtures("s3_environment")
def test_no_secret_is_printed(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from operators.storage import Storage
    from pipelines.connect import LancePlace, ParquetPlace
    from schemas.export import DType

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://name:hidden@127.0.0.1:1")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    told = {
        **written(LancePlace(f"s3://{bucket}/x.lance", "live", 8, Storage()), None),
        **{
            f"p{n}": t
            for n, t in written(ParquetPlace(f"s3://{bucket}/x", 8, DType.INT8, Storage()), None).items()
        },
    }
    for text in told.values():
        assert "hidden" not in text
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in text
        assert os.environ["AWS_ACCESS_KEY_ID"] not in text


@pytest.mark.parametrize("place", ["disk"], indirect=True)
def test_what_a_tool_cannot_read_is_refused_with_the_way_out(places: Places) -> None:
    with pytest.raises(UsageError, match="embedlake export"):
        lines(Tool.SPARK, places("lance"))
    with pytest.raises(UsageError, match="leave --export out"):
        lines(Tool.LANCEDB, places("int8"))
    narrow = places("float16")
    with pytest.raises(UsageError, match="--dtype float32 or int8"):
        lines(Tool.BIGQUERY, narrow)
    assert "spark" not in written(narrow, None)
