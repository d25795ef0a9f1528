"""The catalog's log behaves the same on disk and on S3."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from operators.lake.layout import Layout
from operators.lake.log import CatalogLog
from operators.storage import Storage, join
from schemas.catalog import Catalog, Opened, Published
from schemas.errors import ConflictError, LakeError

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def published(run: str, version: int = 2) -> Published:
    return Published(corpus="c", space="s", space_version=version, assets_version=3, run_id=run, at=NOW)


def log_at(place: str) -> CatalogLog:
    return CatalogLog(Layout(place), Storage())


def test_a_lake_that_is_not_there_reads_as_an_empty_catalog(place: str) -> None:
    assert log_at(place).read() == Catalog()


def test_the_newest_entry_is_the_state_and_the_history_stays(place: str) -> None:
    log = log_at(place)
    opened = log.append(Catalog(), Opened(corpus="c", space="s", space_version=1, assets_version=1, at=NOW))
    assert opened.corpora["c"].run_id is None
    log.append(opened, published("r1"))
    state = log.read()
    assert (state.number, state.corpora["c"].run_id, state.corpora["c"].now.version) == (2, "r1", 2)
    assert Storage().names(join(place, "catalog")) == ["00000001.json", "00000002.json"]


def test_of_racing_writers_exactly_one_appends(place: str) -> None:
    base = Catalog()

    def attempt(n: int) -> bool:
        try:
            log_at(place).append(base, published(f"run-{n}"))
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(attempt, range(8)))
    assert sum(won) == 1
    assert log_at(place).read().corpora["c"].run_id == f"run-{won.index(True)}"


def test_an_append_whose_answer_was_lost_is_recognised(place: str) -> None:
    log = log_at(place)
    assert log.append(Catalog(), published("r1")) == log.append(Catalog(), published("r1"))


def test_another_corpus_moving_on_is_no_conflict(place: str) -> None:
    log = log_at(place)
    base = log.append(Catalog(), Opened(corpus="c", space="s", space_version=1, assets_version=1, at=NOW))
    log.append(base, Published(corpus="d", space="s", space_version=1, assets_version=1, run_id="r", at=NOW))
    entry = log.append(base, published("r1"))
    assert entry.number == 3
    assert {name: corpus.run_id for name, corpus in log.read().corpora.items()} == {"c": "r1", "d": "r"}


def test_a_foreign_file_in_the_log_is_one_clear_error(place: str) -> None:
    Storage().put(join(place, "catalog", "00000001.json"), b'{"format": 9}')
    with pytest.raises(LakeError, match="not a catalog of this version"):
        log_at(place).read()
