"""Killers in a real run cost a row each, and what is tried again is what was chosen and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from operators.storage import Storage
from pipelines.embed import EmbedJob
from pipelines.quarantine import Chosen, listed, retry, shown
from pipelines.reader import LakeReader
from pipelines.sql import query
from schemas.config import DecodeConfig, Policy, RunConfig, Selection
from schemas.errors import ErrorCode, LakeError, Stage, UsageError
from tests.fuzz.killers import KillerSpec

LIMITS = DecodeConfig(timeout_seconds=6, cpu_seconds=20, memory_bytes=512 << 20)
LONG = "the cat sat on the mat. " * 4000
FILES = {
    "a.txt": "the cat sat on the mat",
    "segfault.txt": "KILL:segfault",
    "partly.txt": f"{LONG} KILL:abort",
    "hang.txt": "KILL:lock",
    "huge.txt": "KILL:allocate",
    "poison.txt": "a little poison here",
    "empty.txt": "",
    "z.txt": "a boat ran far away",
}
REASONS = {
    "segfault.txt": "decoder_crashed",
    "partly.txt": "decoder_crashed",
    "hang.txt": "decoder_timeout",
    "huge.txt": "out_of_memory",
    "poison.txt": "embed_failed",
    "empty.txt": "empty",
}


def put(folder: Path, files: dict[str, str]) -> None:
    for name, body in files.items():
        Storage().put(f"{folder}/{name}", body.encode())


def job(tmp_path: Path, **changes: Any) -> EmbedJob:
    return EmbedJob(
        **{
            "sources": (f"{tmp_path}/in",),
            "lake": f"{tmp_path}/lake",
            "spec": KillerSpec(),
            "corpus": "c",
            "config": RunConfig(actors=1, shard_assets=4, block_bytes=1 << 14, decode=LIMITS),
            "policy": Policy(coverage_floor=0),
            **changes,
        }
    )


def names(rows: Any) -> list[str]:
    return [Path(row.uri).name for row in rows]


def assets(tmp_path: Path) -> dict[str, tuple[str, str]]:
    found = query(LakeReader.open(f"{tmp_path}/lake"), "SELECT uri, status, run_id FROM assets").to_pylist()
    return {Path(row["uri"]).name: (row["status"], row["run_id"]) for row in found}


@pytest.mark.usefixtures("local_ray")
def test_killers_cost_a_row_each_and_a_retry_touches_only_what_was_chosen(tmp_path: Path) -> None:
    put(tmp_path / "in", FILES)
    report = job(tmp_path).run()
    assert (report.counts.listed, report.counts.embedded, report.counts.quarantined) == (8, 2, 6)
    reader = LakeReader.open(f"{tmp_path}/lake")
    published = query(reader, "SELECT DISTINCT uri FROM c ORDER BY uri")["uri"].to_pylist()
    assert [Path(uri).name for uri in published] == ["a.txt", "z.txt"], "nothing of what died half-way"

    rows = listed(reader, "c")
    assert {Path(r.uri).name: str(r.error_code) for r in rows} == REASONS
    assert names(listed(reader, "c", Chosen(codes=(ErrorCode.DECODER_CRASHED,)))) == [
        "partly.txt",
        "segfault.txt",
    ]
    assert names(listed(reader, "c", Chosen(stages=(Stage.EMBED,)))) == ["poison.txt"]
    assert names(listed(reader, "c", Chosen(modalities=("text",), uris=("par*", "pois*")))) == [
        "partly.txt",
        "poison.txt",
    ]
    assert len(listed(reader, "c", Chosen(since_run=report.run_id))) == 6
    with pytest.raises(LakeError, match="no finished run 'x'"):
        listed(reader, "c", Chosen(since_run="x"))
    assert "SIGSEGV" in str(shown(reader, "c", "segfault.txt").error_detail)
    with pytest.raises(LakeError, match=r"2 assets fit '\*a\*\.txt'|assets fit"):
        shown(reader, "c", "*a*.txt")
    with pytest.raises(LakeError, match="not in quarantine"):
        shown(reader, "c", "a.txt")

    put(tmp_path / "in", {"hang.txt": "it came back", "a.txt": "changed meanwhile", "new.txt": "new"})
    (tmp_path / "in" / "z.txt").unlink()
    before = assets(tmp_path)
    chosen = Chosen(codes=(ErrorCode.DECODER_TIMEOUT, ErrorCode.EMPTY))
    retried = retry(job(tmp_path, sources=()), reader, chosen)
    assert retried is not None
    counts = retried.report.counts
    assert (retried.chosen, retried.still_quarantined) == (2, 1)
    assert (counts.embedded, counts.quarantined, counts.new, counts.deleted) == (1, 1, 0, 0)
    after = assets(tmp_path)
    assert {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)} == {
        "hang.txt",
        "empty.txt",
    }
    assert after["hang.txt"][0] == "embedded"

    again = retry(job(tmp_path), LakeReader.open(f"{tmp_path}/lake"), Chosen(codes=(ErrorCode.EMPTY,)))
    assert again is not None
    assert (again.report.counts.quarantined, again.report.published_version) == (1, None)
    put(tmp_path / "in", {"empty.txt": ""})
    assert retry(job(tmp_path), LakeReader.open(f"{tmp_path}/lake"), Chosen(uris=("none",))) is None
    with pytest.raises(UsageError, match="selects by what is in quarantine"):
        retry(job(tmp_path, selection=Selection(full=True)), reader, chosen)
