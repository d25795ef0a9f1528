"""What the hearing adapter is taught with: sentences and short phrases, spoken, made worse and encoded."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from operators.model.composed.ingredients import SPEECH
from pipelines.training.data.sound import Encode, Heard, read_features, write_features
from pipelines.training.data.speech import SHARD, VOICES, Utterance, plan, write_shards
from pipelines.training.data.wordnet import sentences, synsets

_PACE = (0.85, 1.2)


def spoken_features(work: Path, sentence_count: int, phrase_count: int) -> list[Heard]:
    """Features of so many sentences and phrases, in whole shards, and of the sounds without speech beside them.

    What lies below `work/speech` is not spoken or encoded again.

    Raises:
        SourceError: a synthesizer is not installed or failed.
        ModelError: an ingredient is not installed.
    """
    found: list[Heard] = []
    makers: tuple[tuple[str, int, Callable[[Path, int], list[Utterance]]], ...] = (
        ("train", sentence_count, _planned_sentences),
        ("phrases", phrase_count, _planned_phrases),
    )
    for name, count, make in makers:
        if not count:
            continue
        folder, features = work / "speech" / name, work / "speech" / f"{name}-features"
        shards = [folder / f"{number:05d}.npz" for number in range(-(-count // SHARD))]
        if not all((features / f"{shard.stem}.json").exists() for shard in shards):
            write_shards(make(work, count), folder)
            write_features(shards, features, _encoder())
        found += [heard for heard in read_features(features, {shard.stem for shard in shards}) if heard.text]
    return found


def _planned_sentences(work: Path, count: int) -> list[Utterance]:
    return plan(sentences(work), count)


def _planned_phrases(work: Path, count: int) -> list[Utterance]:
    return plan_phrases(nouns(work), count)


def nouns(work: Path) -> list[str]:
    """Names of things in plain letters, in WordNet's order."""
    lemmas = (lemma for synset in synsets(work) if synset.noun for lemma in synset.lemmas)
    return list(
        dict.fromkeys(x for x in lemmas if x.islower() and x.isascii() and x.replace(" ", "").isalpha())
    )


def plan_phrases(names: Sequence[str], count: int, seed: int = 11) -> list[Utterance]:
    """Names with an article or none, spoken by training voices: as short as captions are."""
    rng = random.Random(seed)  # noqa: S311
    voices = [voice for voice in VOICES if not voice.held_out and voice.engine != "festival"]
    shares = [voice.share for voice in voices]
    chosen = rng.sample(list(names), min(count, len(names)))
    return [
        Utterance(_phrase(name, rng), rng.choices(voices, shares)[0], rng.uniform(*_PACE)) for name in chosen
    ]


def _phrase(name: str, rng: random.Random) -> str:
    indefinite = "An" if name[0] in "aeiou" else "A"
    return " ".join(filter(None, (rng.choice((indefinite, "The", "")), f"{name}.")))


def _encoder() -> Encode:
    from operators.model.fused.towers import AudioTower

    tower = AudioTower(SPEECH.verified())
    tower.pack()
    return lambda sounds: [rows.numpy() for rows in tower.encode(sounds)]
