"""Speech asked of text: voices that were never trained on, synthetic and human."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from pipelines.evaluation.items import SAMPLE_RATE, Sound
from pipelines.evaluation.sets import Kind, RetrievalSet
from pipelines.training.data.pictures import Picture, stamps
from pipelines.training.data.speech import plan, read_shard, write_shards
from pipelines.training.data.wordnet import sentences

UTTERANCES = 300


def unseen_voices(data: Path, seed: int, most: int | None) -> RetrievalSet:
    """A sentence spoken by a held-out synthetic voice finds its text among 300; sentences are held out too."""
    spoken = utterances(data)
    asked = random.Random(seed).sample(range(len(spoken)), min(most or len(spoken), len(spoken)))  # noqa: S311
    return RetrievalSet(
        name="unseen-voices",
        kind=Kind.SPEECH,
        queries=[(Sound(spoken[row][0]),) for row in asked],
        gallery=[(text,) for _, text in spoken],
        relevant=[{row} for row in asked],
        seed=seed,
        note="WordNet sentences of the test fold, spoken by flite slt and festival ked, which train no model here",
    )


def human_english(data: Path, seed: int, most: int | None) -> RetrievalSet:
    """A person reading a stamp's description finds it among all stamps' descriptions."""
    names = sorted({picture.name for picture in stamps(data)})
    rows = {name: row for row, name in enumerate(names)}
    spoken = list(recordings(data))
    asked = random.Random(seed).sample(spoken, min(most or len(spoken), len(spoken)))  # noqa: S311
    return RetrievalSet(
        name="human-english",
        kind=Kind.SPEECH,
        queries=[(Sound(read_sound(path)),) for _, path in asked],
        gallery=[(name,) for name in names],
        relevant=[{rows[picture.name]} for picture, _ in asked],
        seed=seed,
        note="people's recordings of Tux Paint's descriptions (GPL-2+, evaluation only)",
    )


def utterances(data: Path) -> list[tuple[npt.NDArray[np.int16], str]]:
    """The 300 test utterances with their text; they are spoken on the first call."""
    folder = data / "speech" / "test"
    write_shards(plan(sentences(data), UTTERANCES, seed=1, held_out=True), folder)
    return [(samples, text) for path in sorted(folder.glob("*.npz")) for samples, text, _ in read_shard(path)]


def recordings(data: Path) -> Iterator[tuple[Picture, Path]]:
    """Stamps that come with an English recording of their description."""
    for picture in stamps(data):
        sound = picture.path.with_name(f"{picture.path.stem}_desc.ogg")
        if sound.is_file():
            yield picture, sound


def read_sound(path: Path) -> npt.NDArray[np.int16]:
    """int16 samples `[samples]` of a sound file, mono, 16 kHz."""
    with av.open(str(path)) as file:
        resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
        frames = [new for old in file.decode(audio=0) for new in resampler.resample(old)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])
