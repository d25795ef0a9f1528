"""The main job end to end on a real Ray: what is published, what is not, and what it costs to run again."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from operators.storage import Storage, join
from pipelines.embed import EmbedJob
from pipelines.query import Query, Searcher
from pipelines.reader import LakeReader
from pipelines.sql import query
from schemas.card import Modality
from schemas.config import RunConfig
from schemas.errors import LakeError, ModelError, UsageError
from schemas.recipe import Recipe, TextRecipe
from schemas.report import RunReport
from schemas.space import Space
from tests.models.hashed import HashSpec

pytestmark = pytest.mark.usefixtures("local_ray")


MODEL = HashSpec()
MODEL_SPACE = Space(card=MODEL.card, recipe=Recipe()).id


def put(place: str, files: dict[str, str | bytes]) -> str:
    for name, body in files.items():
        Storage().put(join(place, name), body.encode() if isinstance(body, str) else body)
    return place


def job(lake: str, *sources: str, **changes: Any) -> EmbedJob:
    config = RunConfig(actors=1, stage_rows=8, shard_assets=4)
    return EmbedJob(
        **{
            "sources": sources,
            "lake": lake,
            "spec": MODEL,
            "corpus": "c",
            "config": config,
            **changes,
        }
    )


def rows(lake: str, *columns: str) -> list[tuple[Any, ...]]:
    table = query(LakeReader.open(lake), f"SELECT {', '.join(columns)} FROM c ORDER BY uri, ordinal")
    return [tuple(row.values()) for row in table.to_pylist()]


TEXTS = {"a.txt": "the cat sat on the mat", "b.md": "# the boat\n\nran far away", "deep/c.txt": "a dog ran"}


def test_every_asset_is_counted_and_every_width_is_a_unit_vector(place: str) -> None:
    source = put(join(place, "in"), {**TEXTS, "empty.txt": "", "junk.bin": b"\x00\x01\x02\x03" * 40})
    lake = join(place, "lake")
    report = job(lake, source).run()
    c = report.counts
    assert (c.listed, c.new, c.embedded, c.quarantined, c.unchanged, c.deleted) == (5, 5, 3, 2, 0, 0)
    assert report.quarantine_reasons == {"empty": 1, "unsupported_format": 1}
    found = rows(lake, "uri", "text", "modality", "embedding_32", "embedding_16", "embedding_8")
    assert [(r[0], r[2]) for r in found] == [(join(source, n), "text") for n in sorted(TEXTS)]
    for row in found:
        for vector, width in zip(row[3:], (32, 16, 8), strict=True):
            assert len(vector) == width
            assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
            assert np.dot(vector, np.array(row[3][:width]) / np.linalg.norm(row[3][:width])) == pytest.approx(
                1
            )
    lost = query(
        LakeReader.open(lake),
        "SELECT uri, error_stage, error_code, error_detail FROM quarantine ORDER BY uri",
    )
    assert [(Path(r["uri"]).name, r["error_code"]) for r in lost.to_pylist()] == [
        ("empty.txt", "empty"),
        ("junk.bin", "unsupported_format"),
    ]
    assert all(r["error_stage"] and r["error_detail"] for r in lost.to_pylist())


def test_running_again_embeds_nothing_and_publishes_nothing(place: str) -> None:
    source, lake = put(join(place, "in"), {**TEXTS, "empty.txt": ""}), join(place, "lake")
    job(lake, source).run()
    before = LakeReader.open(lake)
    again = job(lake, source).run()
    assert (again.published_version, again.counts.embedded, again.counts.unchanged) == (None, 0, 4)
    assert LakeReader.open(lake).catalog == before.catalog


def test_only_what_changed_is_embedded_and_what_went_is_gone(place: str) -> None:
    source, lake = put(join(place, "in"), TEXTS), join(place, "lake")
    first = job(lake, source).run()
    before = LakeReader.open(lake)
    put(source, {"a.txt": "the boat is far away now", "new.txt": "a mat"})
    fs, path = Storage().filesystem(join(source, "b.md"))
    fs.rm(path)
    second = job(lake, source).run()
    c = second.counts
    assert (c.listed, c.new, c.changed, c.unchanged, c.deleted, c.embedded) == (3, 1, 1, 1, 1, 2)
    assert [Path(uri).name for (uri,) in rows(lake, "uri")] == ["a.txt", "c.txt", "new.txt"]
    assert rows(lake, "text")[0] == ("the boat is far away now",)
    runs = dict(rows(lake, "uri", "run_id"))
    assert runs[join(source, "deep/c.txt")] == first.run_id
    assert runs[join(source, "a.txt")] == second.run_id
    old = query(before, "SELECT uri FROM c ORDER BY uri")["uri"].to_pylist()
    assert [Path(uri).name for uri in old] == ["a.txt", "b.md", "c.txt"], "a reader keeps its versions"


def test_disk_and_s3_give_the_same_rows(tmp_path: Path, s3_environment: object, bucket: str) -> None:
    columns = (
        "segment_id",
        "modality",
        "ordinal",
        "char_start",
        "char_end",
        "text",
        "tokens",
        "embedding_32",
    )
    found = []
    for place in (str(tmp_path / "x"), f"s3://{bucket}/x"):
        source = put(join(place, "in"), {**TEXTS, "long.txt": "the cat sat on the mat. " * 60})
        job(join(place, "lake"), source).run()
        found.append([(r[0].removeprefix(place), *r[1:]) for r in rows(join(place, "lake"), "uri", *columns)])
    assert len(found[0]) > len(TEXTS) + 1
    assert found[0] == found[1]


def test_metadata_of_a_manifest_becomes_columns_and_later_ones_are_added(place: str) -> None:
    put(join(place, "in"), {**TEXTS, "m.csv": "uri,year\na.txt,1999\nb.md,2001\n"})
    lake, manifest = join(place, "lake"), join(place, "in", "m.csv")
    job(lake, manifest).run()
    assert rows(lake, "year") == [(1999,), (2001,)]
    put(join(place, "in"), {"m.csv": "uri,year,who\na.txt,1999,x\nb.md,2001,y\ndeep/c.txt,2003,z\n"})
    report = job(lake, manifest).run()
    assert (report.counts.new, report.counts.unchanged) == (1, 2)
    assert rows(lake, "year", "who") == [(1999, None), (2001, None), (2003, "z")]
    put(join(place, "in"), {"m.csv": "uri,year\na.txt,soon\n"})
    with pytest.raises(
        UsageError, match="metadata column 'year' is string in the manifest and int64 in the lake"
    ):
        job(lake, manifest).run()


def test_a_manifest_cannot_read_what_was_not_allowed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    source = put(str(tmp_path / "in"), {"m.csv": f"uri\n{tmp_path}/secret.txt\nhttp://169.254.169.254/x\n"})
    lake = str(tmp_path / "lake")
    report = job(lake, f"{source}/m.csv").run()
    assert report.quarantine_reasons == {"source_not_allowed": 2}
    again = job(lake, f"{source}/m.csv").run()
    assert (again.published_version, again.counts.quarantined) == (None, 2), (
        "the same outcome is not published"
    )
    allowed = job(lake, f"{source}/m.csv", allow=(str(tmp_path),)).run()
    assert (allowed.counts.embedded, allowed.counts.quarantined) == (1, 1)


def test_another_recipe_is_refused_in_the_same_corpus(place: str) -> None:
    source, lake = put(join(place, "in"), TEXTS), join(place, "lake")
    job(lake, source).run()
    other = Recipe(text=TextRecipe(chunk_tokens=64))
    with pytest.raises(ModelError, match="vectors of two spaces are never mixed"):
        job(lake, source, recipe=other).run()
    assert job(lake, source, recipe=other, corpus="d").run().counts.embedded == 3


def test_a_run_that_died_before_the_catalog_moved_is_finished_by_the_next(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from operators.lake.log import CatalogLog
    from schemas.catalog import Published

    source, lake = put(join(place, "in"), TEXTS), join(place, "lake")
    append = CatalogLog.append

    def die(self: CatalogLog, base: Any, change: Any) -> Any:
        if isinstance(change, Published):
            raise RuntimeError("power cut")
        return append(self, base, change)

    monkeypatch.setattr(CatalogLog, "append", die)
    with pytest.raises(RuntimeError, match="power cut"):
        job(lake, source).run()
    assert rows(lake, "uri") == [], "nobody sees a run that did not publish"
    monkeypatch.setattr(CatalogLog, "append", append)
    report = job(lake, source).run()
    assert report.resumed_segments == 3
    assert len(rows(lake, "uri")) == 3
    assert job(lake, source).run().published_version is None


def test_death_between_the_catalog_and_the_tag_is_mended_by_the_next_run(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from operators.lake.tables import Table

    source, lake = put(join(place, "in"), TEXTS), join(place, "lake")
    with monkeypatch.context() as patch:
        patch.setattr(Table, "tag_live", lambda *_: (_ for _ in ()).throw(RuntimeError("power cut")))
        with pytest.raises(RuntimeError, match="power cut"):
            job(lake, source).run()
    assert job(lake, source).run().published_version is None
    reader = LakeReader.open(lake)
    assert (
        reader.segments("c").tags.list()["live"]["version"] == reader.catalog.corpora["c"].spaces[MODEL_SPACE]
    )
    assert len(reader.runs("c")) == 1


def test_documents_with_other_pictures_are_other_segments(tmp_path: Path) -> None:
    demo = Path(__file__).resolve().parents[2] / "infra" / "demo" / "corpus" / "images"
    for folder, picture in (("a", "bicycle.jpg"), ("b", "airplane.webp")):
        Storage().put(f"{tmp_path}/in/{folder}/p", (demo / picture).read_bytes())
        put(f"{tmp_path}/in/{folder}", {"doc.json": '{"parts": ["see:", {"type": "image", "uri": "p"}]}'})
    job(f"{tmp_path}/lake", f"{tmp_path}/in").run()
    documents = [r for r in rows(f"{tmp_path}/lake", "segment_id", "modality") if r[1] == "document"]
    assert len(documents) == len(set(documents)) == 2


def test_a_lost_receipt_refuses_to_publish(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import embed as module

    source, lake = put(join(place, "in"), TEXTS), join(place, "lake")
    whole = module.Attempts
    monkeypatch.setattr(module, "Attempts", lambda receipts: whole(receipts[:-1]))
    with pytest.raises(LakeError, match="nothing was published"):
        job(lake, source).run()
    assert rows(lake, "uri") == []


def test_a_row_that_breaks_the_model_costs_one_asset(place: str) -> None:
    bad = {"poison.txt": "a little poison here", "nan.txt": "infinite"}
    source, lake = put(join(place, "in"), {**TEXTS, **bad}), join(place, "lake")
    report = job(lake, source).run()
    assert report.counts.embedded == 3
    assert report.quarantine_reasons == {"embed_failed": 1, "vector_not_finite": 1}
    lost = query(LakeReader.open(lake), "SELECT uri, error_stage, error_detail FROM quarantine ORDER BY uri")
    assert [r["error_stage"] for r in lost.to_pylist()] == ["embed", "embed"]
    assert lost.to_pylist()[1]["error_detail"] == "RuntimeError: the model choked"
    assert [Path(uri).name for (uri,) in rows(lake, "uri")] == ["a.txt", "b.md", "c.txt"]


def test_every_modality_gets_its_segments_and_locators(place: str) -> None:
    demo = Path(__file__).resolve().parents[2] / "infra" / "demo"
    for part in (
        "images/bicycle.jpg",
        "audio/guitar-lesson.mp3",
        "video/kitchen.mov",
        "pdf/harbour-guide.pdf",
    ):
        Storage().put(join(place, "in", part), (demo / "corpus" / part).read_bytes())
    document = {"parts": ["look:", {"type": "image", "uri": "images/bicycle.jpg"}]}
    source = put(join(place, "in"), {**TEXTS, "mixed.json": json.dumps(document)})
    lake = join(place, "lake")
    report = job(lake, source).run()
    assert (report.counts.embedded, report.counts.quarantined) == (8, 0)
    found = rows(lake, "uri", "modality", "ordinal", "page", "start_ms", "end_ms", "char_start", "char_end")
    by_modality: dict[str, list[tuple[Any, ...]]] = {}
    for row in found:
        by_modality.setdefault(row[1], []).append(row[2:])
    assert by_modality["image"] == [(0, None, None, None, None, None)]
    assert by_modality["document"] == [(0, None, None, None, None, None)]
    assert [row[:2] for row in by_modality["page"]] == [(n, n + 1) for n in range(len(by_modality["page"]))]
    for windows in (by_modality["audio"], by_modality["video"]):
        assert windows[0][2] == 0
        assert all(start < end for _, _, start, end, _, _ in windows)
        assert all(b[2] <= a[3] for a, b in pairwise(windows)), "no second is unseen"
    assert len(by_modality["audio"]) > 1
    assert len(by_modality["video"]) > 1


def test_a_model_of_text_alone_quarantines_the_rest_with_the_reason(tmp_path: Path) -> None:
    demo = Path(__file__).resolve().parents[2] / "infra" / "demo"
    Storage().put(f"{tmp_path}/in/x.jpg", (demo / "corpus" / "images" / "bicycle.jpg").read_bytes())
    source, lake = put(f"{tmp_path}/in", TEXTS), f"{tmp_path}/lake"
    report = job(lake, source, spec=HashSpec(modalities=(Modality.TEXT,))).run()
    assert report.quarantine_reasons == {"modality_not_in_model": 1}


def test_float16_vectors_are_stored_and_found(place: str) -> None:
    source, lake = put(join(place, "in"), TEXTS), join(place, "lake")
    job(lake, source, vector_type="float16").run()
    reader = LakeReader.open(lake)
    assert reader.segments("c").schema.field("embedding_16").type == pa.list_(pa.float16(), 16)
    hits = Searcher(reader, "c", MODEL).search(Query(parts=(("text", "the cat sat on the mat"),), width=16))
    assert Path(hits[0].uri).name == "a.txt"


def test_the_report_is_kept_in_the_lake(place: str) -> None:
    source, lake = put(join(place, "in"), TEXTS), join(place, "lake")
    report: RunReport = job(lake, source).run()
    assert LakeReader.open(lake).runs("c") == [report]
    assert query(LakeReader.open(lake), "SELECT run_id, embedded FROM runs").to_pylist() == [
        {"run_id": report.run_id, "embedded": 3}
    ]
