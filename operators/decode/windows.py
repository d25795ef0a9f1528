"""Frames and sound on one clock, cut into the windows that get one vector each.

Time is divided into slots of 1 / fps seconds; a slot has one frame and the sound of its span, and a window is
a run of whole slots: as long as the recipe and the model allow or, with `scenes`, to where the picture changes.
One window at most is held in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from operators.decode.checks import check_hours
from operators.decode.scenes import change, colours
from operators.parts import Locator, Part, PartKind, Segment
from schemas.card import ImageInput, Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe

Pixels = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.int16]


class Shown(NamedTuple):
    """A picture on display from `start_us` to `end_us`, rendered only if a slot takes it."""

    start_us: int
    end_us: int
    render: Callable[[], Pixels]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a video is cut: `window`, `overlap` and `scene_min` in slots, `rate` in samples a second.

    A scene ends where more than `scene_change` of the colours differ (`operators.decode.scenes`); None: nowhere.
    """

    fps: float
    window: int
    overlap: int
    rate: int
    max_hours: float
    input: ImageInput
    scene_change: float | None = None
    scene_min: int = 1

    @classmethod
    def of(cls, recipe: Recipe, card: ModelCard, sound: bool) -> Self:
        """The recipe within the card's limits; with sound, a window's sound fits them too.

        Raises:
            AssetError: MODALITY when the card names no frame size.
        """
        if card.frame is None:
            raise AssetError(ErrorCode.MODALITY, f"{card.model_id} names no frame size on its card")
        video, limits, costs = recipe.video, card.limits, card.token_costs
        longest_ms = min(video.window_ms, limits.video_ms, *([limits.audio_ms] if sound else []))
        slot_tokens = costs.frame + (costs.audio_per_second / video.fps if sound else 0)
        window = min(int(longest_ms * video.fps / 1000), limits.video_frames)
        if slot_tokens > 0:
            window = min(window, int(limits.tokens / slot_tokens))
        window = max(1, window)
        overlap = min(int(video.overlap_ms * video.fps / 1000), window - 1)
        return cls(
            fps=video.fps,
            window=window,
            overlap=overlap,
            rate=card.sample_rate,
            max_hours=video.max_hours,
            input=card.frame,
            scene_change=video.scene_change if video.scenes else None,
            scene_min=max(1, round(video.scene_min_ms * video.fps / 1000)),
        )

    def us(self, slot: int) -> int:
        """When a slot starts."""
        return round(slot * 1_000_000 / self.fps)

    def ms(self, slot: int) -> int:
        """When a slot starts, in milliseconds."""
        return round(slot * 1000 / self.fps)

    def sample(self, slot: int) -> int:
        """The first sample of a slot."""
        return round(slot * self.rate / self.fps)

    @property
    def slack_us(self) -> int:
        """How late a slot's own frame may be, and the shortest tail that makes a slot: 0.1 s at most."""
        return min(100_000, int(500_000 / self.fps))


class Reel:
    """The frame of each slot: the first that starts within `slack_us` of it, else the one on display.

    Before the first frame the first frame stands in. `end_us` is the end of what was seen so far.
    """

    def __init__(self, shown: Iterable[Shown], plan: Plan) -> None:
        self._shown = shown
        self._plan = plan
        self.end_us = 0

    def __iter__(self) -> Iterator[Pixels]:
        plan, slot, held = self._plan, 0, None
        pixels: Pixels | None = None
        for frame in self._shown:
            check_hours(frame.end_us, plan.max_hours)
            while plan.us(slot) + plan.slack_us < frame.start_us:
                pixels = (held or frame).render() if pixels is None else pixels
                yield pixels
                slot += 1
            pixels, held = None, frame
            if frame.start_us >= plan.us(slot):
                pixels = frame.render()
                yield pixels
                slot += 1
            self.end_us = max(self.end_us, frame.end_us)
        while held is not None and (slot == 0 or plan.us(slot) + plan.slack_us < self.end_us):
            pixels = held.render() if pixels is None else pixels
            yield pixels
            slot += 1


class Track:
    """The samples of each slot's span; a tail shorter than `slack_us` is left out."""

    def __init__(self, chunks: Iterable[Samples], plan: Plan) -> None:
        self._chunks = chunks
        self._plan = plan
        self._received = 0

    @property
    def end_us(self) -> int:
        """The end of what was heard so far."""
        return self._received * 1_000_000 // self._plan.rate

    def __iter__(self) -> Iterator[Samples]:
        plan, slot = self._plan, 0
        held: list[Samples] = []
        for chunk in self._chunks:
            self._received += len(chunk)
            check_hours(self.end_us, plan.max_hours)
            held.append(chunk)
            while self._received >= plan.sample(slot + 1):
                joined = np.concatenate(held)
                size = plan.sample(slot + 1) - plan.sample(slot)
                yield joined[:size]
                held, slot = [joined[size:]], slot + 1
        tail = np.concatenate(held) if held else np.empty(0, np.int16)
        if len(tail) and (slot == 0 or len(tail) * 1_000_000 > plan.slack_us * plan.rate):
            yield tail


def decode_frames(shown: Iterable[Shown], sound: Iterable[Samples], plan: Plan) -> Iterator[Segment]:
    """Windows of frames with their sound, in the order of time: frame, its slot's sound, the next frame.

    `at_ms` counts from the window's start. A last frame stays on display as long as sound goes on.

    Raises:
        AssetError: EMPTY without a frame, LIMIT over the recipe's hours, and what the sources raise.
    """
    reel, track = Reel(shown, plan), Track(sound, plan)
    frames, chunks = iter(reel), iter(track)
    windows = _Windows(plan)
    pixels: Pixels | None = None
    for slot in count():
        frame, samples = next(frames, None), next(chunks, None)
        if frame is None and samples is None:
            break
        pixels = pixels if frame is None else frame
        if pixels is None:
            raise AssetError(ErrorCode.EMPTY, "the video stream has no frames")
        yield from windows.add(slot, pixels, samples)
    if pixels is None:
        raise AssetError(ErrorCode.EMPTY, "the video stream has no frames")
    yield windows.last(round(max(reel.end_us, track.end_us) / 1000))


class _Windows:
    """Slots until they make a window."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._held: deque[tuple[Pixels, Samples | None]] = deque()
        self._first = self._scene = 0
        self._colours: npt.NDArray[np.float32] | None = None

    def add(self, slot: int, pixels: Pixels, samples: Samples | None) -> Iterator[Segment]:
        """Take a slot; the window before it, if it is complete."""
        plan = self._plan
        if self._new_scene(pixels) and slot - self._scene >= plan.scene_min:
            yield self._window(slot)
            self._keep(slot, 0)
            self._scene = slot
        elif len(self._held) == plan.window:
            yield self._window(slot)
            self._keep(slot, plan.overlap)
        self._held.append((pixels, samples))

    def last(self, end_ms: int) -> Segment:
        """What is left when the video ends."""
        return _segment(self._held, self._first, self._plan, min(end_ms, self._plan.ms(self._end)))

    @property
    def _end(self) -> int:
        return self._first + len(self._held)

    def _window(self, slot: int) -> Segment:
        return _segment(self._held, self._first, self._plan, self._plan.ms(slot))

    def _keep(self, slot: int, overlap: int) -> None:
        while len(self._held) > overlap:
            self._held.popleft()
        self._first = slot - overlap

    def _new_scene(self, pixels: Pixels) -> bool:
        if self._plan.scene_change is None:
            return False
        before, self._colours = self._colours, colours(pixels)
        return before is not None and change(before, self._colours) > self._plan.scene_change


def _segment(held: Iterable[tuple[Pixels, Samples | None]], first: int, plan: Plan, end_ms: int) -> Segment:
    parts: list[Part] = []
    for slot, (pixels, samples) in enumerate(held, first):
        at_ms = plan.ms(slot) - plan.ms(first)
        parts.append(Part(PartKind.FRAME, data=pixels, at_ms=at_ms))
        if samples is not None:
            parts.append(Part(PartKind.AUDIO, data=samples, at_ms=at_ms))
    locator = Locator(start_ms=plan.ms(first), end_ms=max(end_ms, plan.ms(first) + 1))
    return Segment(Modality.VIDEO, tuple(parts), locator)
