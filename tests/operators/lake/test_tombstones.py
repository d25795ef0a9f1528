"""Forgotten URIs are known again, and only by someone who has the URI."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from operators.lake.tombstones import Tombstones, containers
from operators.storage import Storage, join

URIS = st.lists(st.text(min_size=1, max_size=8), max_size=6)


@given(forgotten=URIS, allowed=URIS, asked=URIS)
def test_exactly_what_was_forgotten_and_not_allowed_again_is_masked(
    forgotten: list[str], allowed: list[str], asked: list[str]
) -> None:
    tombstones = Tombstones().adding(forgotten).without(allowed)
    held = {uri for uri in forgotten if uri not in allowed}
    expected = [not held.isdisjoint([uri, *containers(uri)]) for uri in asked]
    assert tombstones.mask(pl.Series(asked, dtype=pl.String)).to_list() == expected


def test_what_lies_in_a_forgotten_archive_at_any_depth_is_forgotten() -> None:
    tombstones = Tombstones().adding(["x.zip!/in.zip"])
    asked = ["x.zip!/in.zip!/a.txt", "x.zip!/in.zip!/n.tar!/b.txt", "x.zip!/in.zip2", "x.zip!/c.txt", "x.zip"]
    assert tombstones.mask(pl.Series(asked)).to_list() == [True, True, False, False, False]
    assert not tombstones.without(["x.zip!/in.zip"]).holds(asked[0])


def test_the_list_round_trips_and_does_not_hold_the_uri(place: str) -> None:
    uri, storage = join(place, "forgotten", "tombstones.parquet"), Storage()
    assert Tombstones.read(uri, storage).hashes == frozenset()
    made = Tombstones().adding(["s3://bucket/secret.jpg"])
    made.write(uri, storage)
    assert Tombstones.read(uri, storage) == made
    assert b"secret" not in storage.read(uri)


def test_two_corpora_cannot_compare_their_lists() -> None:
    one, other = (Tombstones().adding(["s3://bucket/secret.jpg"]) for _ in range(2))
    assert one.hashes.isdisjoint(other.hashes)
