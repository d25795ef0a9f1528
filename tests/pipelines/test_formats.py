"""A corpus of every text format through a whole run: all of it is embedded, and the table says where it was."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipelines.embed import EmbedJob
from pipelines.reader import LakeReader
from schemas.config import RunConfig
from tests.models.hashed import HashSpec
from tests.operators.decode.test_unpack import zstd
from tests.operators.decode.texts import SAMPLES, png

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.mark.parametrize("apart", [False, True])
def test_every_text_format_is_embedded_and_located(tmp_path: Path, apart: bool) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name, data in SAMPLES.items():
        (source / name).write_bytes(data)
    (source / "album.md").write_text("# Sea\n\n![red](red.png)\n\n" + "words " * 400 + "\n\n![no](no.png)\n")
    (source / "red.png").write_bytes(png())
    (source / "packed.jsonl.zst").write_bytes(zstd(SAMPLES["rows.jsonl"]))
    job = EmbedJob(
        sources=(str(source),),
        lake=str(tmp_path / "lake"),
        spec=HashSpec(),
        corpus="c",
        config=RunConfig(actors=1, decode_apart=apart),
    )
    report = job.run()
    assert (report.counts.embedded, report.counts.quarantined) == (len(SAMPLES) + 3, 0), (
        report.quarantine_reasons
    )
    reader = LakeReader.open(str(tmp_path / "lake"))
    assets = pl.DataFrame(pl.from_arrow(reader.assets("c").to_table()))
    segments = pl.DataFrame(pl.from_arrow(reader.segments("c").to_table()))
    counted = segments.group_by("uri").agg(pl.len().cast(pl.Int32).alias("found")).join(assets, on="uri")
    assert counted.filter(pl.col("found") != pl.col("segments")).is_empty()
    assert segments.height == report.counts.segments
    name = segments["uri"].str.split("/").list.last()
    located = (
        segments.with_columns(name.alias("name"))
        .group_by("name")
        .agg(pl.col("row_end").max(), pl.col("page").max())
    )
    rows = {row["name"]: row for row in located.to_dicts()}
    assert rows["rows.csv"]["row_end"] == rows["packed.jsonl.zst"]["row_end"] == 2
    assert rows["show.pptx"]["page"] == rows["book.epub"]["page"] == 2
    assert segments.filter(name == "album.md")["modality"].unique().sort().to_list() == ["document", "text"]
