"""The CPU half of the fused model: text to windows of tokens, a video's sound in one piece, media passed on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from operators.model.composed.prepare import ComposedPreparer
from operators.model.contract import Inputs
from operators.parts import Part, PartKind


@dataclass(frozen=True, slots=True)
class FusedPreparer(ComposedPreparer):
    """Parts stay in the caller's order, but for a video's: its frames, then the sound of all of them.

    Between frames a word would be cut each second. Frame and sound carry their moment, so nothing is lost. A text
    longer than the trunk was trained for becomes several parts.
    """

    def prepare(self, inputs: Inputs) -> tuple[list[tuple[Part, ...]], list[int]]:
        """Parts of tokens, pixels and samples, and the tokens that each input costs.

        Raises:
            AssetError: nothing to embed, or pixels of another size than the card's (stage `prepare`).
        """
        joined = [tuple(p for scene in _scenes(parts) for p in _sound_last(scene)) for parts in inputs]
        return ComposedPreparer.prepare(self, joined)


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
