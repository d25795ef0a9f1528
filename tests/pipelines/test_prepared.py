"""What a run has decoded once is what the next space is made of: same rows, near-equal vectors, no originals."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from operators.lake.files import find
from operators.lake.layout import prepared_name
from operators.lake.tables import Table
from operators.storage import Storage, join
from pipelines.backfill import BackfillJob
from pipelines.embed import EmbedJob
from pipelines.forget import forget
from pipelines.gc import collect
from pipelines.maintenance import maintain
from pipelines.reader import LakeReader
from pipelines.spaces import drop
from schemas.card import ImageInput, ModelCard
from schemas.config import Policy, RunConfig
from schemas.corpus import Backfill
from schemas.errors import CoverageError
from schemas.recipe import Recipe, TextRecipe
from schemas.space import Space
from tests.models.hashed import HashSpec
from tests.models.salted import SaltedSpec
from tests.operators.decode.clips import audio, every, solid, tone, video
from tests.operators.decode.pages import pdf_bytes
from tests.operators.sources.test_archive import make_zip

pytestmark = pytest.mark.usefixtures("local_ray")

OLD, NEW = HashSpec(), SaltedSpec("new")
RECIPE = Recipe(text=TextRecipe(chunk_tokens=24, overlap_tokens=4))
CONFIG = RunConfig(actors=1, block_rows=8, shard_assets=4)


@dataclass(frozen=True)
class SharperSpec(SaltedSpec):
    """A model that sees more of a picture."""

    @property
    def card(self) -> ModelCard:
        sharper = ImageInput(side=64)
        return super().card.model_copy(update={"image": sharper, "frame": sharper})


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


def media(lake: str, corpus: str = "c") -> pa.Table:
    reader = LakeReader.open(lake)
    name = prepared_name(RECIPE)
    version = reader.catalog.corpora[corpus].prepared[name]
    return Table(reader.layout.prepared(corpus, name), Storage()).open(version).to_table()


def names(table: pa.Table, all_rows: bool = False) -> list[str]:
    """What assets of a place are called, each once or in every row."""
    found = [uri.rsplit("/in/", 1)[-1] for uri in table["uri"].to_pylist()]
    return found if all_rows else sorted(set(found))


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
            broken = pc.equal(kept["status"], "quarantined")
            assert names(kept.filter(broken)) == ["empty.txt"], "what was not kept is looked for where it was"
            assert kept.filter(pc.invert(broken)) == decoded.filter(
                pc.not_equal(decoded["status"], "quarantined")
            )


def once(lake: str, corpus: str = "c") -> list[tuple[str, str | None]]:
    """What the prepared media hold, asset by asset and segment by segment."""
    table = media(lake, corpus)
    found = list(zip(names(table, all_rows=True), table["segment_id"].to_pylist(), strict=True))
    assert len(set(found)) == len(found), "nothing twice"
    return sorted(found, key=str)


def files_with(place: Path, needle: bytes) -> list[str]:
    return [str(f) for f in place.rglob("*") if f.is_file() and needle in f.read_bytes()]


def test_media_follow_their_assets_through_change_deletion_upkeep_and_erasure(tmp_path: Path) -> None:
    source, lake = fill(f"{tmp_path}/in"), f"{tmp_path}/lake"
    job(lake, source, keep_prepared=True).run()
    before = media(lake)
    (clip_media,) = before.filter(
        pc.and_(pc.ends_with(before["uri"], "e.mp4"), pc.equal(before["ordinal"], 1))
    )["kept_media"].to_pylist()
    needle = clip_media[len(clip_media) // 2 :][:64]
    assert files_with(tmp_path / "lake", needle)
    Storage().put(f"{tmp_path}/in/a.txt", b"another text altogether")
    Storage().put(f"{tmp_path}/in/g.zip", make_zip({"x.jpg": jpeg(48), "w.txt": b"other words"}))
    manifest = Path(source)
    manifest.write_text(manifest.read_text().replace("c.jpg,3\n", "").replace("d.wav,4", "d.wav,40"))
    job(lake, source, keep_prepared=True).run()
    job(lake, source, corpus="scratch", keep_prepared=True).run()
    assert once(lake) == once(lake, "scratch"), "as if it had been so from the start"
    maintain(lake, "c", days=0)
    assert once(lake) == once(lake, "scratch")
    forget(lake, "c", [f"{tmp_path}/in/e.mp4", f"{tmp_path}/in/g.zip!/x.jpg"])
    assert not files_with(tmp_path / "lake" / "c", needle), "nothing of it is left in any file"
    assert not {"e.mp4", "g.zip!/x.jpg"} & set(names(media(lake)))
    collect(lake, days=0)
    fs, path = Storage().filesystem(f"{tmp_path}/in")
    for name in ("a.txt", "b.md", "d.wav", "f.pdf"):
        fs.rm(f"{path}/{name}")
    report = backfill(lake).run()
    assert (report.complete, report.embedded) == (True, 5), (
        "an archive without all of its media is opened again"
    )
    assert names(rows(lake, of=space())[0]) == ["a.txt", "b.md", "d.wav", "f.pdf", "g.zip!/w.txt"]


def test_what_does_not_fit_the_new_model_is_decoded_again_and_what_fits_is_not(tmp_path: Path) -> None:
    source, lake = fill(f"{tmp_path}/in"), f"{tmp_path}/lake"
    job(lake, source, keep_prepared=True).run()
    for name in ("a.txt", "d.wav"):
        Path(tmp_path, "in", name).unlink()
    report = backfill(lake, spec=SharperSpec("new"), keep_prepared=True).run()
    assert (report.complete, report.embedded) == (True, 9)
    found = media(lake)
    sharp = pc.and_(pc.ends_with(found["uri"], ".jpg"), pc.equal(found["kind"], "segment"))
    assert {tuple(parts[0]["shape"]) for parts in found.filter(sharp)["kept_parts"].to_pylist()} == {
        (64, 64, 3)
    }
    once(lake)


def test_a_run_that_was_not_published_leaves_its_media_staged_and_the_next_one_publishes_them(
    tmp_path: Path,
) -> None:
    source, lake = fill(f"{tmp_path}/in"), f"{tmp_path}/lake"
    strict = job(lake, source, keep_prepared=True, policy=Policy(coverage_floor=1))
    with pytest.raises(CoverageError):
        strict.run()
    collect(lake, days=0)
    assert media(lake).num_rows == 0
    report = job(lake, source, keep_prepared=True).run()
    assert report.resumed_segments == report.counts.segments > 10, "nothing is embedded twice"
    job(lake, source, corpus="scratch", keep_prepared=True).run()
    assert once(lake) == once(lake, "scratch")


def test_media_that_only_a_dropped_space_could_read_go_with_it(place: str) -> None:
    source, lake = fill(join(place, "in")), join(place, "lake")
    job(lake, source, keep_prepared=True).run()
    other = Recipe(text=TextRecipe(chunk_tokens=64))
    for changes in ({"keep_prepared": True}, {"keep_prepared": True, "recipe": other}):
        backfill(lake, **changes).run()
    prepared = LakeReader.open(lake).catalog.corpora["c"].prepared
    assert len(prepared) == 2
    drop(lake, "c", space())
    assert LakeReader.open(lake).catalog.corpora["c"].prepared == prepared, (
        "the live space reads the same recipe's"
    )
    drop(lake, "c", Space(card=NEW.card, recipe=other).id)
    reader = LakeReader.open(lake)
    (gone,) = set(prepared) - set(reader.catalog.corpora["c"].prepared)
    assert not find(Storage(), reader.layout.prepared("c", gone))
    assert once(lake)
