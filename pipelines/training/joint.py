"""The joint stage: texts, pictures, sounds and mixtures of them through one trunk, with losses at every width."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from operators.model.fused.network import FusedNetwork
from operators.model.tokens import FastTokenizer
from operators.parts import PartKind
from pipelines.training.data.pictures import Picture
from pipelines.training.trainer import Pairs, Task


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture by its concept `[hidden]`, from a regression that was not fitted to its noun."""

    concept: torch.Tensor


@dataclass(frozen=True, slots=True)
class Heard:
    """A sound: rows `[rows, audio_dim]` of the hearing tower."""

    rows: torch.Tensor


Item = tuple[str | Seen | Heard, ...]


class Reader:
    """Items to vectors through a network; with `remember` texts are embedded once: for stages that freeze the trunk.

    Of a text `text_tokens` are read; pairs are sentences. A picture's concept is given with it, since the concepts of
    pictures that the regression was fitted to are better than those of any other picture.
    """

    def __init__(
        self, network: FusedNetwork, tokenizer: FastTokenizer, *, remember: bool, text_tokens: int = 64
    ) -> None:
        self.network, self.tokenizer, self.remember = network, tokenizer, remember
        self.text_tokens = text_tokens
        self._known: dict[str, torch.Tensor] = {}

    def __call__(self, items: Sequence[Item]) -> torch.Tensor:
        """Vectors `[items, dim]`."""
        plain = [
            i for i, item in enumerate(items) if self.remember and len(item) == 1 and isinstance(item[0], str)
        ]
        others = sorted(set(range(len(items))) - set(plain))
        vectors: list[torch.Tensor] = [torch.empty(0)] * len(items)
        if others:
            for i, vector in zip(
                others, self.network.read(self._rows([items[i] for i in others])), strict=True
            ):
                vectors[i] = vector
        for i, vector in zip(plain, self._remembered([str(items[i][0]) for i in plain]), strict=True):
            vectors[i] = vector
        return torch.stack(vectors)

    def all(self, items: Sequence[Item], batch: int = 64) -> torch.Tensor:
        """Vectors `[items, dim]` of many items, without gradients; about equally long ones are read together."""
        order = sorted(range(len(items)), key=lambda i: sum(_length(part) for part in items[i]))
        found: list[torch.Tensor] = [torch.empty(0)] * len(items)
        with torch.no_grad():
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                for i, vector in zip(rows, self([items[i] for i in rows]), strict=True):
                    found[i] = vector
        return torch.stack(found)

    def _remembered(self, texts: Sequence[str]) -> list[torch.Tensor]:
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        if fresh:
            with torch.no_grad():
                found = self.network.read(self._rows([(text,) for text in fresh]))
            self._known.update(zip(fresh, found, strict=True))
        return [self._known[text] for text in texts]

    def _rows(self, items: Sequence[Item]) -> list[torch.Tensor]:
        network, words = self.network, self.network.trunk.embeddings.word_embeddings
        parts = [part for item in items for part in item]
        seen = [part for part in parts if isinstance(part, Seen)]
        heard = [part for part in parts if isinstance(part, Heard)]
        beside = [len(item) > 1 for item in items for part in item if isinstance(part, Seen)]
        said = iter(network.vision.say(torch.stack([p.concept for p in seen]), beside) if seen else ())
        told = iter(network.audio([p.rows for p in heard], words.weight))

        def row(part: str | Seen | Heard) -> torch.Tensor:
            if isinstance(part, Seen):
                return network.between(PartKind.IMAGE, next(said))
            if isinstance(part, Heard):
                return network.between(PartKind.AUDIO, next(told))
            counter = self.tokenizer
            ids = np.concatenate([counter.prefix, counter.ids(part)[: self.text_tokens], counter.suffix])
            found: torch.Tensor = words(torch.from_numpy(ids.astype(np.int64)).to(words.weight.device))
            return found

        return [torch.cat([row(part) for part in item]) for item in items]


def _length(part: str | Seen | Heard) -> int:
    """About how many tokens a part takes."""
    return len(part) // 4 if isinstance(part, str) else 6 if isinstance(part, Seen) else len(part.rows)


def named_pictures(pictures: Sequence[Picture], seen: Sequence[Seen]) -> Task[Item]:
    """Captions ask for pictures: every second time the name, else anything said of it."""
    numbers = _numbers(pictures)

    def draw(size: int, rng: random.Random) -> Pairs[Item]:
        rows = rng.sample(range(len(pictures)), size)
        texts = [_caption(pictures[row], rng) for row in rows]
        return Pairs(
            queries=[(text,) for text in texts],
            positives=[(seen[row],) for row in rows],
            query_ids=_ids(texts),
            positive_ids=[numbers[row] for row in rows],
        )

    return draw


def text_pairs(
    pairs: Sequence[tuple[str, str]], teach: Callable[[Sequence[str]], torch.Tensor]
) -> Task[Item]:
    """Texts ask for texts; the queries are to stay where the teacher has them."""

    def draw(size: int, rng: random.Random) -> Pairs[Item]:
        chosen = rng.sample(pairs, size)
        queries, positives = ([pair[side] for pair in chosen] for side in (0, 1))
        return Pairs(
            queries=[(text,) for text in queries],
            positives=[(text,) for text in positives],
            query_ids=_ids(queries),
            positive_ids=_ids(positives),
            teacher=teach(queries),
        )

    return draw


def composed(
    subjects: Sequence[tuple[Seen | Heard | str, str]], wishes: Sequence[tuple[str, str]], side: int = 8
) -> Task[Item]:
    """A subject, seen, heard or read, with a wish in words asks for a text of both.

    A batch crosses some subjects with some wishes, so neither part alone tells the answer from the others.

    Args:
        subjects: each with what it is called.
        wishes: what is said beside the subject, and how the answer says it.
        side: wishes of a batch.
    """

    def draw(size: int, rng: random.Random) -> Pairs[Item]:
        of = rng.sample(subjects, -(-size // side))
        what = rng.sample(wishes, side)
        grid = [(subject, wish) for subject in of for wish in what][:size]
        texts = [f"{wish[1]}: {subject[1]}" for subject, wish in grid]
        turned = [rng.random() < 0.3 for _ in grid]
        return Pairs(
            queries=[
                (w[0], s[0]) if turn else (s[0], w[0]) for (s, w), turn in zip(grid, turned, strict=True)
            ],
            positives=[(text,) for text in texts],
            query_ids=_ids(texts),
            positive_ids=_ids(texts),
        )

    return draw


def spoken(sounds: Sequence[tuple[Heard, str]]) -> Task[Item]:
    """Transcripts ask for sounds."""

    def draw(size: int, rng: random.Random) -> Pairs[Item]:
        chosen = rng.sample(sounds, size)
        texts = [text for _, text in chosen]
        return Pairs(
            queries=[(text,) for text in texts],
            positives=[(sound,) for sound, _ in chosen],
            query_ids=_ids(texts),
            positive_ids=_ids(texts),
        )

    return draw


def _caption(picture: Picture, rng: random.Random) -> str:
    return picture.name if rng.random() < 0.5 else rng.choice(picture.captions)


def _numbers(pictures: Sequence[Picture]) -> list[int]:
    """Pictures of one name are one positive."""
    return _ids([picture.name for picture in pictures])


def _ids(texts: Sequence[str]) -> list[int]:
    first: dict[str, int] = {}
    return [first.setdefault(text.lower(), len(first)) for text in texts]
