"""What a run has decoded once is what the next space is made of: same rows, near-equal vectors, no originals."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from operators.lake.layout import prepared_name
from operators.lake.tables import Table
from operators.storage import Storage, join
from pipelines.backfill import BackfillJob
from pipelines.embed import EmbedJob
from pipelines.reader import LakeReader
from schemas.catalog import Backfill
from schemas.config import Policy, RunConfig
from schemas.recipe import Recipe, TextRecipe
from tests.models.hashed import HashSpec
from tests.models.salted import SaltedSpec
from tests.operators.decode.clips import audio, every, solid, tone, video
from tests.operators.decode.pages import pdf_bytes
from tests.operators.sources.test_archive import make_zip

pytestmark = pytest.mark.usefixtures("local_ray")

OLD, NEW = HashSpec(), SaltedSpec("new")
RECIPE = Recipe(text=TextRecipe(chunk_tokens=24, overlap_tokens=4))
CONFIG = RunConfig(actors=1, block_rows=8, shard_assets=4)


def jpeg(grey: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(solid((grey,) * 3, 160, 90)).save(out, "JPEG")
    return out.getvalue()


def clip(second: int) -> bytes:
    """Twenty seconds whose grey tells the time."""
    return video(every(250, 20_000), lambda at: solid((16 + 32 * (int(at) // 4 % 7),) * 3), sound=tone(20))


def fill(place: str) -> str:
    """One of each kind of asset, some of it in archives, and some of it broken."""
    files = {
        "a.txt": b"a note on the boats of the harbour. " * 12,
        "b.md": b"# Title\n\n" + b"words of a chapter " * 30 + b"\n\n![grey](c.jpg)\n",
        "c.jpg": jpeg(112),
        "d.wav": audio("wav", "pcm_s16le", tone(12)),
        "e.mp4": clip(4),
        "f.pdf": pdf_bytes("the first page", "the second page", ""),
        "g.zip": make_zip({"x.jpg": jpeg(48), "y.txt": b"in an archive", "z.pdf": pdf_bytes("packed")}),
        "empty.txt": b"",
        "m.csv": b"uri,reads\na.txt,1\nb.md,2\nc.jpg,3\nd.wav,4\ne.mp4,5\nf.pdf,6\ng.zip,7\nempty.txt,8\n",
    }
    for name, body in files.items():
        Storage().put(join(place, name), body)
    return join(place, "m.csv")


def job(lake: str, *sources: str, corpus: str = "c", **changes: Any) -> EmbedJob:
    plain = {
        "spec": OLD,
        "config": CONFIG,
        "policy": Policy(coverage_floor=0, max_deleted=1),
        "recipe": RECIPE,
    }
    return EmbedJob(sources=sources, lake=lake, corpus=corpus, **{**plain, **changes})


def backfill(lake: str, **changes: Any) -> BackfillJob:
    return BackfillJob(
        job=job(lake, **{"spec": NEW, **changes}), backfill=Backfill(model="new"), batch_assets=100
    )


def space(spec: HashSpec = NEW) -> str:
    return job("x", spec=spec).space.id


def rows(lake: str, corpus: str = "c", of: str | None = None) -> tuple[pa.Table, pa.Table]:
    """The segments and the assets of a space, in order, without the names of runs."""
    reader = LakeReader.open(lake)
    tables = (reader.segments(corpus, of).to_table(), reader.assets(corpus, of).to_table())
    order = [[("uri", "ascending"), ("ordinal", "ascending")], "uri"]
    found = [t.drop_columns(["run_id"]).sort_by(o) for t, o in zip(tables, order, strict=True)]
    return found[0], found[1]


def media(lake: str) -> pa.Table:
    reader = LakeReader.open(lake)
    name = prepared_name(RECIPE)
    version = reader.catalog.corpora["c"].prepared[name]
    return Table(reader.layout.prepared("c", name), Storage()).open(version).to_table()


def names(table: pa.Table) -> list[str]:
    """What assets of a place are called, each once."""
    return sorted({uri.rsplit("/in/", 1)[-1] for uri in table["uri"].to_pylist()})


def cosines(one: pa.Table, other: pa.Table, column: str) -> np.ndarray[Any, Any]:
    vectors = [np.stack(table[column].to_numpy()) for table in (one, other)]
    return np.asarray(np.sum(vectors[0] * vectors[1], axis=1))


def alike(one: pa.Table, other: pa.Table) -> None:
    """The same rows but for the last digits of their vectors."""
    embeddings = [name for name in one.column_names if name.startswith("embedding_")]
    assert one.drop_columns(embeddings).to_pylist() == other.drop_columns(embeddings).to_pylist()
    assert cosines(one, other, embeddings[0]).min() > 0.999


def test_a_backfill_reads_what_is_prepared_and_no_original(place: str) -> None:
    source, lake = fill(join(place, "in")), join(place, "lake")
    job(lake, source, keep_prepared=True).run()
    assert names(media(lake)) == [
        "a.txt", "b.md", "c.jpg", "d.wav", "e.mp4", "f.pdf", "g.zip", "g.zip!/x.jpg", "g.zip!/y.txt", "g.zip!/z.pdf",
    ]  # fmt: skip
    job(lake, source, corpus="scratch", spec=NEW).run()
    fs, path = Storage().filesystem(join(place, "in"))
    fs.rm(path, recursive=True)
    report = backfill(lake).run()
    assert (report.complete, report.embedded) == (True, 9)
    for kept, decoded in zip(rows(lake, of=space()), rows(lake, "scratch"), strict=True):
        if "segment_id" in kept.column_names:
            alike(kept, decoded)
        else:
            broken = pa.compute.equal(kept["status"], "quarantined")
            assert names(kept.filter(broken)) == ["empty.txt"], "what was not kept is looked for where it was"
            assert kept.filter(pa.compute.invert(broken)) == decoded.filter(
                pa.compute.not_equal(decoded["status"], "quarantined")
            )
