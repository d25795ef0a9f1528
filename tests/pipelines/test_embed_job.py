"""The main job end to end on a real Ray: what is published, what is not, and what it costs to run again."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from operators.storage import Storage, join
from pipelines.embed import EmbedJob
from pipelines.query import Query, Searcher
from pipelines.reader import LakeReader
from pipelines.sql import query
from schemas.card import Modality
from schemas.config import Policy, RunConfig, Selection
from schemas.errors import CoverageError, LakeError, ModelError, UsageError
from schemas.recipe import Recipe, TextRecipe
from schemas.report import RunReport
from schemas.space import Space
from tests.models.hashed import HashSpec
from tests.models.slow import SlowSpec

pytestmark = pytest.mark.usefixtures("local_ray")


MODEL = HashSpec()
MODEL_SPACE = Space(card=MODEL.card, recipe=Recipe()).id


def put(place: str, files: dict[str, str | bytes]) -> str:
    for name, body in files.items():
        Storage().put(join(place, name), body.encode() if isinstance(body, str) else body)
    return place


def job(lake: str, *sources: str, **changes: Any) -> EmbedJob:
    config = RunConfig(actors=1, block_rows=8, shard_assets=4)
    return EmbedJob(
        **{
            "sources": sources,
            "lake": lake,
            "spec": MODEL,
            "corpus": "c",
            "config": config,
            "policy": Policy(coverage_floor=0),
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
    assert (report.counts.new, report.counts.updated, report.counts.unchanged) == (1, 2, 0)
    assert rows(lake, "year", "who") == [(1999, "x"), (2001, "y"), (2003, "z")]
    put(join(place, "in"), {"m.csv": "uri,year\na.txt,soon\n"})
    with pytest.raises(
        UsageError, match="metadata column 'year' is string in the manifest and int64 in the lake"
    ):
        job(lake, manifest).run()


def test_edited_metadata_keeps_the_vectors(place: str) -> None:
    put(join(place, "in"), {**TEXTS, "m.csv": "uri,year\na.txt,1999\nb.md,2001\ndeep/c.txt,2002\n"})
    lake, manifest = join(place, "lake"), join(place, "in", "m.csv")
    job(lake, manifest).run()
    columns = ("uri", "segment_id", "text", "year", "embedding_32", "embedding_8")
    before = rows(lake, *columns)
    put(join(place, "in"), {"m.csv": "uri,year\na.txt,1950\nb.md,2001\ndeep/c.txt,\n"})
    report = job(lake, manifest).run()
    c = report.counts
    assert (c.updated, c.unchanged, c.embedded, c.new, c.changed) == (2, 1, 0, 0, 0)
    years = {"a.txt": 1950, "b.md": 2001, "c.txt": None}
    assert rows(lake, *columns) == [(*r[:3], years[Path(r[0]).name], *r[4:]) for r in before]
    assert job(lake, manifest).run().published_version is None


def test_a_moved_or_copied_asset_takes_its_vectors_along(place: str) -> None:
    source, lake = (
        put(join(place, "in"), {**TEXTS, "long.txt": "the cat sat on the mat. " * 300}),
        join(place, "lake"),
    )
    job(lake, source).run()
    columns = ("segment_id", "ordinal", "text", "char_start", "embedding_32")
    before = [r[1:] for r in rows(lake, "uri", *columns) if r[0].endswith("long.txt")]
    fs, path = Storage().filesystem(source)
    fs.mv(f"{path}/long.txt", f"{path}/moved.txt")
    fs.copy(f"{path}/a.txt", f"{path}/copy.txt")
    put(source, {"same-size.txt": "the cow sat on the mat"})
    c = job(lake, source, spec=HashSpec()).run().counts
    assert (c.new, c.moved, c.embedded, c.deleted, c.unchanged) == (3, 2, 1, 1, 3)
    after = rows(lake, "uri", *columns)
    assert [r[1:] for r in after if r[0].endswith("moved.txt")] == before
    texts = {Path(r[0]).name: r[3] for r in after}
    assert (texts["copy.txt"], texts["same-size.txt"]) == ("the cat sat on the mat", "the cow sat on the mat")
    found = query(
        LakeReader.open(lake), "SELECT uri, status, modality, segments, tokens FROM assets ORDER BY uri"
    )
    moved = next(r for r in found.to_pylist() if r["uri"].endswith("moved.txt"))
    assert (moved["status"], moved["modality"], moved["segments"]) == ("embedded", "text", len(before))
    assert job(lake, source).run().published_version is None


def test_below_the_coverage_floor_the_run_is_staged_and_refuses_to_publish(place: str) -> None:
    source, lake = put(join(place, "in"), {**TEXTS, "nan.txt": "infinite"}), join(place, "lake")
    with pytest.raises(
        CoverageError, match=r"75\.0% .* less than --coverage-floor 0\.98 \(1 x vector_not_finite\)"
    ) as e:
        job(lake, source, policy=Policy()).run()
    assert rows(lake, "uri") == []
    where = str(e.value).split("look at ")[1].split(",")[0]
    assert pa.parquet.read_table(io.BytesIO(Storage().read(where)))["uri"].to_pylist() == [
        join(source, "nan.txt")
    ]
    report = job(lake, source, policy=Policy(coverage_floor=0.75)).run()
    assert (report.counts.embedded, report.resumed_segments, report.coverage) == (3, 3, 0.75)
    put(source, {"new.txt": "a new note"})
    again = job(lake, source, policy=Policy()).run()
    assert again.coverage == 1, "what failed before is not held against a later run"


def test_a_source_that_looks_empty_does_not_empty_the_corpus(place: str) -> None:
    source, lake = put(join(place, "in"), {f"{n}.txt": f"note {n}" for n in range(12)}), join(place, "lake")
    job(lake, source).run()
    fs, path = Storage().filesystem(source)
    for n in range(11):
        fs.rm(f"{path}/{n}.txt")
    with pytest.raises(CoverageError, match=r"11 of the corpus' 12 assets are no longer in their sources"):
        job(lake, source).run()
    assert len(rows(lake, "uri")) == 12
    assert job(lake, source, policy=Policy(max_deleted=1)).run().counts.deleted == 11


def test_a_limited_run_continues_the_next_time(place: str) -> None:
    source, lake = put(join(place, "in"), {f"{n}.txt": f"note {n}" for n in range(5)}), join(place, "lake")
    counts = [job(lake, source, selection=Selection(max_assets=2)).run().counts for _ in range(4)]
    assert [(c.embedded, c.deferred, c.unchanged) for c in counts] == [
        (2, 3, 0),
        (2, 1, 2),
        (1, 0, 4),
        (0, 0, 5),
    ]
    assert len(rows(lake, "uri")) == 5


def test_a_run_stops_at_its_budget_publishes_what_it_has_and_continues_the_next_time(tmp_path: Path) -> None:
    source, lake = put(f"{tmp_path}/in", {f"{n:02d}.txt": f"note {n}" for n in range(40)}), f"{tmp_path}/lake"
    policy = Policy(budget_gpu_hours=2 / 3600)
    config = RunConfig(actors=1, block_rows=2, shard_assets=2)
    first = job(lake, source, spec=SlowSpec(), config=config, policy=policy).run()
    c = first.counts
    assert first.budget_spent
    assert 0 < c.embedded < 40
    assert c.embedded + c.deferred == 40
    assert len(rows(lake, "uri")) == c.embedded
    second = job(lake, source, config=config).run().counts
    assert (second.embedded, second.unchanged, second.deferred) == (40 - c.embedded, c.embedded, 0)


def test_everything_is_embedded_again_on_request(place: str) -> None:
    source, lake = put(join(place, "in"), TEXTS), join(place, "lake")
    first = job(lake, source).run()
    before = rows(lake, "uri", "segment_id", "embedding_32")
    again = job(lake, source, selection=Selection(full=True)).run()
    assert (again.counts.embedded, again.counts.unchanged) == (3, 0)
    assert rows(lake, "uri", "segment_id", "embedding_32") == before
    assert {r for (r,) in rows(lake, "run_id")} == {again.run_id} != {first.run_id}


def test_an_asset_that_failed_before_a_crash_in_the_commit_and_not_after_is_published_whole(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from operators.lake.log import CatalogLog
    from schemas.catalog import Published

    source = put(join(place, "in"), {**TEXTS, "m.csv": "uri\na.txt\nlate.txt\n"})
    lake, manifest = join(place, "lake"), join(source, "m.csv")
    append = CatalogLog.append

    def die(self: CatalogLog, base: Any, change: Any) -> Any:
        if isinstance(change, Published):
            raise RuntimeError("power cut")
        return append(self, base, change)

    with monkeypatch.context() as patch:
        patch.setattr(CatalogLog, "append", die)
        with pytest.raises(RuntimeError, match="power cut"):
            job(lake, manifest, sources=(manifest,)).run()
    put(source, {"late.txt": "it came late"})
    report = job(lake, manifest).run()
    assert report.counts.embedded == 2
    assert [Path(uri).name for (uri,) in rows(lake, "uri")] == ["a.txt", "late.txt"]


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
        reader.segments("c").tags.list()["live"]["version"]
        == reader.catalog.corpora["c"].spaces[MODEL_SPACE].version
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
    from pipelines import run as module

    source, lake = put(join(place, "in"), TEXTS), join(place, "lake")
    whole = module.Attempts
    monkeypatch.setattr(module, "Attempts", lambda receipts, work: whole(receipts[:-1], work))
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
