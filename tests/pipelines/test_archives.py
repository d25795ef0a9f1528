"""An archive's members are assets of their own, through every night that it lives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from operators.lake.files import delete
from operators.sources.listing import Listed
from operators.storage import Storage, join
from pipelines.chosen import choose
from pipelines.embed import EmbedJob
from pipelines.forget import forget
from pipelines.reader import LakeReader
from schemas.config import Policy, RunConfig, Selection
from schemas.report import RunReport
from tests.models.counting import CountingSpec, embedded
from tests.operators.sources.test_archive import make_tar, make_zip

pytestmark = pytest.mark.usefixtures("local_ray")


@dataclass(frozen=True, slots=True, kw_only=True)
class LosingJob(EmbedJob):
    """A job that loses sight of one file between listing and reading it."""

    away: str | None = None

    def listed(self, lake: str) -> list[Listed]:
        found = EmbedJob.listed(self, lake)
        if self.away and Path(self.away).exists():
            Path(self.away).rename(Path(self.away).parent.parent / Path(self.away).name)
        return found


class Corpus:
    """Files in a place, and nights over them."""

    def __init__(self, place: str, ledger: Path) -> None:
        self.place, self.lake, self.ledger = join(place, "in"), join(place, "lake"), ledger

    def put(self, name: str, body: bytes) -> None:
        Storage().put(join(self.place, name), body)

    def drop(self, name: str) -> None:
        delete(Storage(), [join(self.place, name)])

    def night(self, away: str | None = None, full: bool = False) -> tuple[RunReport, int]:
        """The report, and how many inputs the model was given; the file `away` cannot be fetched once listed."""
        before = embedded(self.ledger)
        job = LosingJob(
            away=away and join(self.place, away),
            selection=Selection(full=full),
            sources=(self.place,),
            lake=self.lake,
            spec=CountingSpec(ledger=str(self.ledger)),
            corpus="c",
            config=RunConfig(actors=1),
            policy=Policy(coverage_floor=0, max_deleted=1),
        )
        try:
            return job.run(), embedded(self.ledger) - before
        finally:
            if away:
                Path(self.place, f"../{away}").rename(Path(self.place, away))

    def table(self, name: str, *columns: str) -> list[tuple[Any, ...]]:
        """Rows in order, URIs from the place on."""
        reader = LakeReader.open(self.lake)
        table = reader.assets("c") if name == "assets" else reader.segments("c")
        frame = pl.DataFrame(pl.from_arrow(table.to_table(columns=list(columns)))).sort("uri")
        short = pl.col("uri", *[c for c in columns if c == "container"]).str.strip_prefix(self.place + "/")
        return frame.with_columns(short).rows()


@pytest.fixture
def corpus(place: str, tmp_path: Path) -> Corpus:
    return Corpus(place, tmp_path / "ledger")


def test_members_live_change_and_go_with_their_archive(corpus: Corpus) -> None:
    inner = make_tar({"deep.txt": b"deep words"})
    files = {"a.txt": b"first words", "b.txt": b"other words", "n.tar": inner, "x.bin": bytes(99)}
    corpus.put("z.zip", make_zip(files))
    corpus.put("plain.txt", b"plain words")
    report, inputs = corpus.night()
    counts = report.counts
    assert (counts.listed, counts.members, counts.expanded) == (2, 5, 2)
    assert (counts.embedded, counts.quarantined, inputs) == (4, 1, 4)
    assert corpus.table("assets", "uri", "container", "status", "segments") == [
        ("plain.txt", None, "embedded", 1),
        ("z.zip", None, "expanded", 0),
        ("z.zip!/a.txt", "z.zip", "embedded", 1),
        ("z.zip!/b.txt", "z.zip", "embedded", 1),
        ("z.zip!/n.tar", "z.zip", "expanded", 0),
        ("z.zip!/n.tar!/deep.txt", "z.zip", "embedded", 1),
        ("z.zip!/x.bin", "z.zip", "quarantined", 0),
    ]
    again, inputs = corpus.night()
    assert (again.published_version, inputs, again.counts.unchanged) == (None, 0, 2)

    changed = {**files, "b.txt": b"edited words", "c.txt": b"added words"}
    del changed["n.tar"]
    corpus.put("z.zip", make_zip(changed))
    report, inputs = corpus.night()
    assert (report.counts.changed, report.counts.moved, inputs) == (1, 1, 2), (
        "only what is new in it is embedded"
    )
    assert corpus.table("segments", "uri", "text") == [
        ("plain.txt", "plain words"),
        ("z.zip!/a.txt", "first words"),
        ("z.zip!/b.txt", "edited words"),
        ("z.zip!/c.txt", "added words"),
    ]
    corpus.drop("z.zip")
    report, inputs = corpus.night()
    assert (report.counts.deleted, inputs) == (5, 0)
    assert corpus.table("segments", "uri") == [("plain.txt",)]


def test_what_cannot_be_read_tonight_keeps_its_vectors_and_is_tried_again(tmp_path: Path) -> None:
    corpus = Corpus(str(tmp_path / "place"), tmp_path / "ledger")
    gone = join(corpus.place, "not-there.png")
    waiting = json.dumps({"parts": ["words", {"type": "image", "uri": gone}]}).encode()
    corpus.put("z.zip", make_zip({"a.txt": b"first words", "b.json": waiting}))
    corpus.put("plain.txt", b"plain words")
    report, _ = corpus.night()
    assert report.quarantine_reasons == {"not_found": 1}, "so the archive is read again every night"

    report, inputs = corpus.night(away="z.zip")
    assert (report.counts.quarantined, report.counts.unchanged, report.counts.members, inputs) == (1, 1, 0, 0)
    assert corpus.table("assets", "uri", "status", "error_code") == [
        ("plain.txt", "embedded", None),
        ("z.zip", "expanded", "not_found"),
        ("z.zip!/a.txt", "embedded", None),
        ("z.zip!/b.json", "quarantined", "not_found"),
    ]
    assert corpus.table("segments", "uri") == [("plain.txt",), ("z.zip!/a.txt",)]
    assert corpus.night(away="z.zip")[0].published_version is None, "the same failure says nothing new"

    corpus.put("plain.txt", b"edited words")
    report, inputs = corpus.night(away="plain.txt")
    assert (report.counts.quarantined, report.counts.moved, inputs) == (2, 1, 0)
    assert corpus.table("segments", "uri", "text") == [
        ("plain.txt", "plain words"),
        ("z.zip!/a.txt", "first words"),
    ]
    report, inputs = corpus.night()
    assert (report.counts.embedded, inputs) == (1, 1)
    assert corpus.table("segments", "uri", "text")[0] == ("plain.txt", "edited words")

    report, _ = corpus.night(away="plain.txt", full=True)
    assert corpus.table("segments", "uri", "text")[0] == ("plain.txt", "edited words")
    report, inputs = corpus.night()
    assert (report.counts.changed, report.counts.moved, inputs) == (2, 2, 0)
    assert corpus.table("assets", "uri", "status", "error_code")[:2] == [
        ("plain.txt", "embedded", None),
        ("z.zip", "expanded", None),
    ]


def test_a_damaged_archive_keeps_what_came_out_of_it(corpus: Corpus) -> None:
    whole = make_tar({"a.txt": b"first words", "b.txt": b"other words" * 99, "c.txt": b"last words"})
    corpus.put("cut.tar", whole[:2000])
    report, _ = corpus.night()
    assert (report.counts.embedded, report.quarantine_reasons) == (1, {"corrupt": 1})
    assert corpus.table("assets", "uri", "status") == [
        ("cut.tar", "quarantined"),
        ("cut.tar!/a.txt", "embedded"),
    ]
    again, inputs = corpus.night()
    assert (again.published_version, inputs) == (None, 0), "its bytes are the same, so nothing is tried again"


def test_an_archive_that_moves_takes_its_vectors_along(corpus: Corpus) -> None:
    body = make_zip({"a.txt": b"first words", "b.txt": b"other words"})
    corpus.put("here.zip", body)
    corpus.night()
    if corpus.place.startswith("s3:"):
        corpus.drop("here.zip")
        corpus.put("there.zip", body)
    else:
        Path(corpus.place, "here.zip").rename(Path(corpus.place, "there.zip"))
    report, inputs = corpus.night()
    assert (report.counts.moved, inputs) == (2, 0)
    found = corpus.table("segments", "uri", "text")
    assert found == [("there.zip!/a.txt", "first words"), ("there.zip!/b.txt", "other words")]
    assert [row[:2] for row in corpus.table("assets", "uri", "container")] == [
        ("there.zip", None),
        ("there.zip!/a.txt", "there.zip"),
        ("there.zip!/b.txt", "there.zip"),
    ]


def test_the_same_bytes_under_another_suffix_are_read_as_what_they_are_now(tmp_path: Path) -> None:
    corpus = Corpus(str(tmp_path / "place"), tmp_path / "ledger")
    body = b"name,age\nAnn,3\nBob,4\n"
    corpus.put("a.txt", body)
    corpus.put("z.zip", make_zip({"a.txt": body}))
    corpus.night()
    corpus.put("b.csv", body)
    corpus.put("z.zip", make_zip({"b.csv": body}))
    report, _ = corpus.night()
    assert (report.counts.moved, report.counts.embedded) == (0, 2)
    corpus.put("c.csv", body)
    assert corpus.night()[0].counts.moved == 1
    texts: dict[str, list[str]] = {}
    for uri, text in corpus.table("segments", "uri", "text"):
        texts.setdefault(uri, []).append(text)
    assert texts["c.csv"] == texts["b.csv"] == texts["z.zip!/b.csv"] != texts["a.txt"]


def test_a_forgotten_member_does_not_come_back_with_its_archive(corpus: Corpus) -> None:
    inner = make_zip({"deep.txt": b"hidden words"})
    corpus.put("z.zip", make_zip({"a.txt": b"first words", "b.txt": b"secret words", "n.zip": inner}))
    corpus.night()
    secret = [join(corpus.place, "z.zip!/b.txt"), join(corpus.place, "z.zip!/n.zip")]
    chosen = choose(LakeReader.open(corpus.lake), "c", secret)
    assert (chosen.assets, chosen.segments) == (3, 2), "with an archive in an archive what is in it"
    forget(corpus.lake, "c", chosen.uris)
    inner = make_zip({"deep.txt": b"hidden words", "later.txt": b"more to hide"})
    corpus.put("z.zip", make_zip({"a.txt": b"new words", "b.txt": b"secret words again", "n.zip": inner}))
    report, inputs = corpus.night()
    assert (report.counts.members, inputs) == (1, 1), "nothing of it is embedded, or staged"
    assert corpus.table("segments", "uri", "text") == [("z.zip!/a.txt", "new words")]


def test_forgetting_an_archive_forgets_what_is_in_it(corpus: Corpus) -> None:
    corpus.put("z.zip", make_zip({"a.txt": b"first words"}))
    corpus.put("plain.txt", b"plain words")
    corpus.night()
    chosen = choose(LakeReader.open(corpus.lake), "c", [join(corpus.place, "z.zip")])
    assert (chosen.assets, chosen.segments) == (2, 1)
    forget(corpus.lake, "c", chosen.uris)
    report, inputs = corpus.night()
    assert (inputs, report.counts.excluded) == (0, 1)
    assert corpus.table("assets", "uri") == [("plain.txt",)]


def test_an_object_with_the_uri_of_a_member_blocks_nothing(corpus: Corpus) -> None:
    corpus.put("z.zip", make_zip({"a.txt": b"first words"}))
    corpus.night()
    corpus.put("z.zip!/a.txt", b"object's words")
    report, _ = corpus.night()
    assert report.counts.listed == 2
    assert corpus.table("segments", "uri", "text") == [
        ("z.zip!/a#2.txt", "first words"),
        ("z.zip!/a.txt", "object's words"),
    ]
    again, inputs = corpus.night()
    assert (again.published_version, inputs) == (None, 0)
