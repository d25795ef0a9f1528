"""Frozen towers with the simplest learned maps into the text tower's space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from operators.model.composed.ingredients import SPEECH
from operators.model.fused.config import FusedConfig
from operators.model.fused.efficientnet import FEATURES, SIDE
from operators.model.fused.engine import See
from operators.model.fused.towers import RATE, WINDOW_S, AudioTower
from operators.model.fused.vision import Concepts
from operators.model.fused.whisper_encoder import WIDTH
from pipelines.evaluation.baselines import (
    Transfer,
    Vectors,
    knn_transfer,
    mlp_transfer,
    paired_projections,
)
from pipelines.evaluation.items import ImageFile, Item, Sound
from pipelines.training.composed import embed_texts
from pipelines.training.data.pictures import clip_art, fluent_emoji, noto_emoji
from pipelines.training.data.raster import open_picture, pixels
from pipelines.training.data.speech import read_shard
from pipelines.training.data.splits import head_noun, split
from pipelines.training.heads import Captions
from pipelines.training.sight import fit_likeness
from schemas.errors import ModelError

VERSION = "2"
"""Of the fitted maps: another one makes remembered vectors void."""
_BATCH = 32
_STEP = 320
_SPOKEN = 2_000
"""Training utterances of the speech baseline."""


class FrozenPictures:
    """The fused model's frozen vision tower `see`; maps are fitted on the training pictures that every model has."""

    def __init__(self, data: Path, see: See) -> None:
        self._tower = see
        self._train, _ = split([*clip_art(data), *fluent_emoji(data), *noto_emoji(data)])
        self._features = self._kept(
            [ImageFile(p.path) for p in self._train], data / "features" / "sight-train.npy"
        )
        texts = sorted({caption for p in self._train for caption in p.captions})
        self._rows = {text: row for row, text in enumerate(texts)}
        self._texts = embed_texts(texts)

    def by_mlp(self, items: Sequence[Item]) -> Vectors:
        """Vectors `[items, 384]` of pictures through a trained network, of texts by MiniLM."""
        return self._embed(items, self._mlp)

    def by_neighbours(self, items: Sequence[Item]) -> Vectors:
        """Vectors `[items, 384]` of pictures from the captions of their look-alikes, of texts by MiniLM."""
        return self._embed(items, self._knn)

    @cached_property
    def _mlp(self) -> Transfer:
        return mlp_transfer(self._features, self._captions, self._nouns)

    @cached_property
    def projections(self) -> tuple[Transfer, Transfer]:
        """CLIP's maps of features `[pictures, FEATURES]` and of MiniLM's vectors `[texts, 384]` into one space."""
        return paired_projections(self._features, self._captions, self._nouns)

    @property
    def _captions(self) -> list[Vectors]:
        return [self._texts[[self._rows[c] for c in p.captions]] for p in self._train]

    @property
    def _nouns(self) -> list[str]:
        return [head_noun(p.name) for p in self._train]

    @cached_property
    def _knn(self) -> Transfer:
        rows = [[self._rows[c] for c in p.captions] for p in self._train]
        likeness = Concepts(FusedConfig(image_anchors=1))
        fit_likeness(likeness, torch.from_numpy(self._features))

        def reduce(features: Vectors) -> Vectors:
            with torch.inference_mode():
                return np.asarray(likeness.reduce(torch.from_numpy(features)).numpy(), np.float32)

        return knn_transfer(self._features, Captions(self._texts, rows).targets().numpy(), reduce)

    def _embed(self, items: Sequence[Item], transfer: Transfer) -> Vectors:
        if _all_text(items):
            return embed_texts([text for (text,) in items if isinstance(text, str)])
        files = [medium for (medium,) in items if isinstance(medium, ImageFile)]
        if len(files) != len(items):
            raise ModelError("the frozen image features see pictures alone")
        return transfer(np.stack(self._see(files)))

    def _kept(self, files: Sequence[ImageFile], cache: Path) -> Vectors:
        """Features `[files, FEATURES]`, read from `cache` where an earlier run left as many."""
        if cache.exists():
            kept: npt.NDArray[np.float16] = np.load(cache)
            if kept.shape == (len(files), FEATURES):
                return kept.astype(np.float32)
        features = np.stack(self._see(files))
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.save(cache, features.astype(np.float16))
        return features

    def _see(self, files: Sequence[ImageFile]) -> list[Vectors]:
        found: list[Vectors] = []
        for start in range(0, len(files), _BATCH):
            stacked = np.stack([pixels(open_picture(f.path), SIDE) for f in files[start : start + _BATCH]])
            found.extend(self._tower(torch.from_numpy(stacked)).cpu().numpy())
        return found


class FrozenSpeech:
    """Mean encoder states of the hearing tower; fitted on training utterances."""

    def __init__(self, data: Path) -> None:
        self._tower = AudioTower(SPEECH.verified())
        spoken = [u for path in _shards(data) for u in read_shard(path)][:_SPOKEN]
        texts = [text for _, text, _ in spoken]
        captions = embed_texts(texts)[:, None]
        self._mlp = mlp_transfer(self._mean([s for s, _, _ in spoken]), list(captions), texts)

    @staticmethod
    def ready(data: Path) -> bool:
        """Whether training speech lies in the data folder: it takes hours to make, so a table does not make it."""
        return bool(_shards(data))

    def by_mlp(self, items: Sequence[Item]) -> Vectors:
        """Vectors `[items, 384]` of sounds through a trained network, of texts by MiniLM."""
        if _all_text(items):
            return embed_texts([text for (text,) in items if isinstance(text, str)])
        return self._mlp(self._mean([sound.samples for (sound,) in items if isinstance(sound, Sound)]))

    def _mean(self, sounds: Sequence[npt.NDArray[np.int16]]) -> Vectors:
        """Encoder states averaged over each sound: float32 `[sounds, 384]`."""
        means = np.empty((len(sounds), WIDTH), np.float32)
        with torch.inference_mode():
            for row, sound in enumerate(sounds):
                window = sound[: RATE * WINDOW_S]
                steps = max(1, -(-len(window) // _STEP))
                states = self._tower.states([window], -(-len(window) // RATE) or 1)
                means[row] = states[0, :steps].mean(0).numpy()
        return means


def _shards(data: Path) -> list[Path]:
    return sorted((data / "speech" / "train").glob("*.npz"))[:4]


def _all_text(items: Sequence[Item]) -> bool:
    return all(len(item) == 1 and isinstance(item[0], str) for item in items)
