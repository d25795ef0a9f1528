"""The CPU half of the fused model: text to windows of tokens, a video's sound in one piece, media passed on.

In a query, a question is woven into the text that it is asked about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from operators.model.composed.prepare import WINDOW, ComposedPreparer
from operators.model.contract import Inputs
from operators.model.fused.asking import times, woven
from operators.parts import Part, PartKind, token_estimate


@dataclass(frozen=True, slots=True)
class FusedPreparer(ComposedPreparer):
    """Parts stay in the caller's order, but for a video's: its frames, then the sound of all of them.

    Between frames a word would be cut each second. Frame and sound carry their moment, so nothing is lost. A text
    longer than the trunk was trained for becomes several parts.

    Where it is `asking`, as for queries, short texts beside a long one are woven into it: they are said again between
    its pieces, in every window, until they hold a fair share of the text's tokens and as far as one pass has room. A
    document is left as it is: a caption below an article asks nothing of it.
    """

    asking: bool = False

    def prepare(self, inputs: Inputs) -> tuple[list[tuple[Part, ...]], list[int]]:
        """Parts of tokens, pixels and samples, and the tokens that each input costs.

        Raises:
            AssetError: nothing to embed, or pixels of another size than the card's (stage `prepare`).
        """
        joined = [tuple(p for scene in _scenes(parts) for p in _sound_last(scene)) for parts in inputs]
        return ComposedPreparer.prepare(self, [self._asked(p) for p in joined] if self.asking else joined)

    def _asked(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """The parts with all other texts in the longest one, or as they are where none is that much longer."""
        texts = {i: self.counter.ids(self.prompt + p.text) for i, p in enumerate(parts) if p.text}
        texts = {i: ids for i, ids in texts.items() if len(ids)}
        if len(texts) < 2:
            return parts
        longest = max(texts, key=lambda i: len(texts[i]))
        asked = np.concatenate([ids for i, ids in texts.items() if i != longest])
        windows = np.array_split(texts[longest], -(-len(texts[longest]) // WINDOW))
        # Several windows are several passes, which the media are read in one of.
        media = token_estimate(parts, self.card) if len(windows) == 1 else 0
        room = self.card.limits.tokens - media - self._markers
        counts = [times(len(window), len(asked), room) for window in windows]
        if min(counts) == 1:
            return parts
        first = min(texts) != longest
        read = [
            self._tokens(parts[longest], woven(window, asked, count, first=first))
            for window, count in zip(windows, counts, strict=True)
        ]
        others = texts.keys() - {longest}
        return tuple(
            p for i, part in enumerate(parts) if i not in others for p in (read if i == longest else [part])
        )

    @property
    def _markers(self) -> int:
        return len(self.counter.prefix) + len(self.counter.suffix)


def _scenes(parts: tuple[Part, ...]) -> Iterator[list[Part]]:
    """Runs of frames and sounds on one clock, every other part by itself."""
    scene: list[Part] = []
    for part in parts:
        follows = scene and part.at_ms is not None and part.at_ms >= (scene[-1].at_ms or 0)
        if scene and not follows:
            yield scene
            scene = []
        if part.at_ms is None:
            yield [part]
        else:
            scene.append(part)
    if scene:
        yield scene


def _sound_last(scene: list[Part]) -> list[Part]:
    sounds = [part for part in scene if part.kind is PartKind.AUDIO]
    if len(sounds) < 2:
        return scene
    others = [part for part in scene if part.kind is not PartKind.AUDIO]
    whole = np.concatenate([sound.array for sound in sounds])
    return [*others, replace(sounds[0], data=whole)]
