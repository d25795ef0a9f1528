"""Held-out nouns, voices and sentences stay held out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.training.data.pictures import Picture
from pipelines.training.data.speech import (
    RATE,
    Utterance,
    Voice,
    is_test_sentence,
    plan,
    read_shard,
    speak,
    write_shards,
)
from pipelines.training.data.splits import head_noun, held_out, split
from schemas.errors import SourceError

NOUNS = [
    "dog",
    "cat",
    "horse",
    "apple",
    "pear",
    "drum",
    "tent",
    "bomb",
    "pizza",
    "castle",
    "robot",
    "violin",
    "kettle",
    "bridge",
    "comet",
    "spoon",
]
SENTENCES = [f"the {a} is beside the {b}" for a in NOUNS for b in NOUNS]


@pytest.mark.parametrize(
    ("name", "noun"),
    [("red apple", "apple"), ("cat with tears of joy", "cat"), ("two dogs", "dog")],
)
def test_head_noun(name: str, noun: str) -> None:
    assert head_noun(name) == noun


def test_no_training_picture_mentions_a_tested_noun() -> None:
    tested_noun = next(n for n in NOUNS if held_out(n))
    kept = [n for n in NOUNS if not held_out(n)]
    pictures = [Picture("s", Path("a"), n) for n in NOUNS]
    pictures += [
        Picture("s", Path("b"), kept[0], (f"{tested_noun}s",)),
        Picture("s", Path("c"), kept[1], (kept[0],)),
    ]
    train, test = split(pictures)
    assert {p.name for p in test} == {n for n in NOUNS if held_out(n)}
    assert {p.name for p in train} == set(kept)
    assert not [p for p in train if tested_noun in " ".join(p.keywords)]


def test_voices_and_sentences_of_training_and_test_are_disjoint() -> None:
    train, test = plan(SENTENCES, 400), plan(SENTENCES, 40, held_out=True)
    assert not {u.text for u in train} & {u.text for u in test}
    assert not {u.voice for u in train} & {u.voice for u in test}
    assert all(u.voice.held_out and is_test_sentence(u.text) for u in test)
    assert len({u.voice for u in train}) > 8


def test_same_seed_plans_the_same_speech() -> None:
    assert plan(SENTENCES, 50, seed=3) == plan(SENTENCES, 50, seed=3)
    assert plan(SENTENCES, 50, seed=3) != plan(SENTENCES, 50, seed=4)


def test_a_synthesizer_that_is_not_installed_is_named_before_any_has_spoken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    utterances = [Utterance("a lighthouse", Voice(engine="festival", name="kal_diphone"), 1.0)]
    with pytest.raises(SourceError, match=r"text2wave.*apt-get install festival festvox-kallpc16k"):
        write_shards(utterances, tmp_path / "speech")
    assert not list((tmp_path / "speech").iterdir())


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite speaks it")
def test_spoken_shards_hold_what_was_planned_and_are_not_spoken_twice(tmp_path: Path) -> None:
    voice = Voice(engine="flite", name="kal16")
    utterances = [Utterance("a dog's life; it's $5", voice, 1.0), Utterance("short", voice, 1.2)]
    write_shards(utterances, tmp_path)
    (path,) = tmp_path.iterdir()
    (long, text, name), (short, _, _) = read_shard(path)
    assert (text, name) == ("a dog's life; it's $5", "flite/kal16")
    assert len(long) > RATE > len(short) > RATE // 10
    assert np.abs(long.astype(int)).max() > 1_000
    before = path.stat().st_mtime_ns
    write_shards(utterances, tmp_path)
    assert path.stat().st_mtime_ns == before


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite speaks it")
def test_a_faster_pace_is_shorter() -> None:
    voice = Voice(engine="flite", name="kal16")
    slow, fast = (speak(Utterance("the lighthouse keeper watched", voice, p)) for p in (0.85, 1.2))
    assert len(fast) < 0.85 * len(slow)
