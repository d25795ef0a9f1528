"""An archive's members are assets of their own, through every night that it lives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from operators.lake.files import delete
from operators.storage import Storage, join
from pipelines.embed import EmbedJob
from pipelines.forget import choose, forget
from pipelines.reader import LakeReader
from schemas.config import Policy, RunConfig
from schemas.report import RunReport
from tests.models.counting import CountingSpec, embedded
from tests.operators.sources.test_archive import make_tar, make_zip

pytestmark = pytest.mark.usefixtures("local_ray")


class Corpus:
    """Files in a place, and nights over them."""

    def __init__(self, place: str, ledger: Path) -> None:
        self.place, self.lake, self.ledger = join(place, "in"), join(place, "lake"), ledger

    def put(self, name: str, body: bytes) -> None:
        Storage().put(join(self.place, name), body)

    def drop(self, name: str) -> None:
        delete(Storage(), [join(self.place, name)])

    def night(self) -> tuple[RunReport, int]:
        """The report, and how many inputs the model was given."""
        before = embedded(self.ledger)
        job = EmbedJob(
            sources=(self.place,),
            lake=self.lake,
            spec=CountingSpec(ledger=str(self.ledger)),
            corpus="c",
            config=RunConfig(actors=1),
            policy=Policy(coverage_floor=0, max_deleted=1),
        )
        return job.run(), embedded(self.ledger) - before

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


def test_a_forgotten_member_does_not_come_back_with_its_archive(corpus: Corpus) -> None:
    corpus.put("z.zip", make_zip({"a.txt": b"first words", "b.txt": b"secret words"}))
    corpus.night()
    secret = join(corpus.place, "z.zip!/b.txt")
    forget(corpus.lake, "c", choose(LakeReader.open(corpus.lake), "c", [secret]).uris)
    corpus.put("z.zip", make_zip({"a.txt": b"new words", "b.txt": b"secret words again"}))
    corpus.night()
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
