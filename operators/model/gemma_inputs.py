"""How EmbeddingGemma 2 wants its sequences: token ids with a slot for every soft token of the media."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from operators.decode.image import fit_pixels
from operators.model.contract import Inputs
from operators.model.source import read_json
from operators.model.tokens import FastTokenizer
from operators.parts import Part, PartKind
from schemas.card import ImageInput, ModelCard
from schemas.errors import AssetError, ErrorCode, ModelError, Stage

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmaLayout:
    """Marker ids, patch sizes and sound framing of one checkpoint.

    `image` .. `sound_end` are token ids; `image_tokens` and `frame_tokens` the most soft tokens of a picture
    and of a video frame; `frame_length` and `hop` are samples. `controls` are all tokens that no text may give.
    """

    image: int
    frame: int
    sound: int
    image_start: int
    image_end: int
    sound_start: int
    sound_end: int
    controls: tuple[int, ...]
    vision: bool
    audio: bool
    image_tokens: int
    frame_tokens: int
    patch: int
    pool: int
    sample_rate: int
    frame_length: int
    hop: int

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The layout of a model folder.

        Raises:
            ModelError: the config lacks a marker, or pictures and frames differ in their patches.
        """
        config = read_json(folder / "config.json")
        processor = read_json(folder / "processor_config.json")
        picture, video = (processor.get(name) or {} for name in ("image_processor", "video_processor"))
        sound = sound_settings(folder)
        patch, pool = picture.get("patch_size", 16), picture.get("pooling_kernel_size", 3)
        if (video.get("patch_size", patch), video.get("pooling_kernel_size", pool)) != (patch, pool):
            raise ModelError(f"'{folder}': pictures and video frames are cut into different patches")
        try:
            markers = {field: int(config[name]) for field, name in _MARKERS.items()}
        except (KeyError, TypeError):
            raise ModelError(f"'{folder / 'config.json'}' lacks a marker token of EmbeddingGemma 2") from None
        return cls(
            **markers,
            controls=(*markers.values(), *_ends(config.get("text_config") or {})),
            vision=config.get("vision_config") is not None,
            audio=config.get("audio_config") is not None,
            image_tokens=picture.get("max_soft_tokens", 280),
            frame_tokens=video.get("max_soft_tokens", 140),
            patch=patch,
            pool=pool,
            sample_rate=sound.get("sampling_rate", 16_000),
            frame_length=sound.get("frame_length", 320),
            hop=sound.get("hop_length", 160),
        )

    def mel_frames(self, samples: int) -> int:
        """Mel frames that lie wholly in a sound."""
        return max(0, (samples - self.frame_length // 2 - 1) // self.hop + 1)

    def sound_tokens(self, samples: int) -> int:
        """Soft tokens of a sound: its mel frames, halved twice by the convolutions."""
        return -(-self.mel_frames(samples) // 4)


_MARKERS = {
    "image": "image_token_id",
    "frame": "video_token_id",
    "sound": "audio_token_id",
    "image_start": "boi_token_id",
    "image_end": "eoi_token_id",
    "sound_start": "boa_token_id",
    "sound_end": "eoa_token_index",
}


def _ends(text: dict[str, Any]) -> list[int]:
    ids = (text.get(name) for name in ("pad_token_id", "bos_token_id", "eos_token_id"))
    return [i for i in ids if isinstance(i, int)]


def sound_settings(folder: Path) -> dict[str, Any]:
    """The saved settings of the model's audio feature extractor."""
    own = read_json(folder / "preprocessor_config.json")
    return (
        own
        if "feature_size" in own
        else read_json(folder / "processor_config.json").get("feature_extractor", {})
    )


@dataclass(frozen=True, slots=True)
class GemmaPreparer:
    """Parts to one `TOKENS` part with the whole sequence, followed by the media that fill its slots, in order.

    The prompt goes before the first text; an input without text has none. Pictures that a decoder made for
    the card are taken as they are, others are resized to it. A run of frames with sound is laid out as the
    model's processor does for `load_audio_from_video`: time stamp, frame, time stamp, one second of sound.
    """

    counter: FastTokenizer
    card: ModelCard
    layout: GemmaLayout
    prompt: str

    def prepare(self, inputs: Inputs) -> tuple[list[tuple[Part, ...]], list[int]]:
        """Sequences with their media, and the exact tokens of each.

        Raises:
            AssetError: no content, a modality that the model lacks, or over 8,192 tokens (stage `prepare`).
        """
        prepared = [self._sequence(parts) for parts in inputs]
        return prepared, [len(parts[0].array) for parts in prepared]

    def _sequence(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        prompt = self.prompt
        pieces: list[Ids] = []
        media: list[Part] = []
        for group, members in groupby(parts, key=_group):
            run = tuple(members)
            if group is PartKind.TEXT:
                text = "\n".join(part.text or "" for part in run)
                if text.strip():
                    pieces.append(self.counter.ids(prompt + text))
                    prompt = ""
            else:
                ids, shown = self._media(group, run)
                pieces += ids
                media += shown
        if not pieces:
            raise AssetError(ErrorCode.EMPTY, "nothing to embed: no text, pixels or sound", Stage.PREPARE)
        sequence = np.concatenate([self.counter.prefix, *pieces, self.counter.suffix])
        if len(sequence) > self.card.limits.tokens:
            detail = f"{len(sequence)} tokens, model '{self.card.model_id}' takes {self.card.limits.tokens}"
            raise AssetError(ErrorCode.LIMIT, detail, Stage.PREPARE)
        return Part(PartKind.TOKENS, data=sequence), *media

    def _media(self, group: PartKind, run: tuple[Part, ...]) -> tuple[list[Ids], list[Part]]:
        if group is PartKind.TOKENS:
            raise AssetError(ErrorCode.INTERNAL, "the input was prepared already", Stage.PREPARE)
        self._check(run)
        if group is PartKind.IMAGE:
            images = [_fit(part, self.card.image) for part in run]
            return [self._picture(self.layout.image, part) for part in images], images
        frames = [_fit(part, self.card.frame) for part in run if part.kind is PartKind.FRAME]
        sounds = [part for part in run if part.kind is PartKind.AUDIO]
        if not frames:
            heard = [part for part in sounds if self.layout.sound_tokens(len(part.array))]
            return [self._sound(self.layout.sound_tokens(len(part.array))) for part in heard], heard
        return self._film(frames, sounds)

    def _check(self, run: tuple[Part, ...]) -> None:
        for part in run:
            if not (self.layout.audio if part.kind is PartKind.AUDIO else self.layout.vision):
                detail = f"model '{self.card.model_id}' was loaded without {part.kind}"
                raise AssetError(ErrorCode.MODALITY, detail, Stage.PREPARE)

    def _film(self, frames: list[Part], sounds: list[Part]) -> tuple[list[Ids], list[Part]]:
        pictures = [self._picture(self.layout.frame, part) for part in frames]
        wave = np.concatenate([part.array for part in sounds]) if sounds else np.zeros(0, np.int16)
        tokens = self.layout.sound_tokens(len(wave))
        if not tokens:
            return pictures, frames
        seconds = [
            round((i * 1000 if part.at_ms is None else part.at_ms) / 1000) for i, part in enumerate(frames)
        ]
        total = max(seconds[-1] + 1, len(wave) // self.layout.sample_rate)
        heard = _spread(tokens, self.layout.sound_tokens(self.layout.sample_rate), range(seconds[0], total))
        pieces: list[Ids] = []
        for picture, second, until in zip(pictures, seconds, [*seconds[1:], total], strict=True):
            pieces += self._stamped(second, picture, first=not pieces)
            for at in range(second, until):
                if heard[at]:
                    pieces += self._stamped(at, self._sound(heard[at]))
        return pieces, [*frames, Part(PartKind.AUDIO, data=wave)]

    def _stamped(self, second: int, block: Ids, first: bool = False) -> list[Ids]:
        stamp = f"{'' if first else ' '}{second // 60:02d}:{second % 60:02d} "
        return [self.counter.ids(stamp), block]

    def _picture(self, slot: int, part: Part) -> Ids:
        multiple = self.layout.patch * self.layout.pool
        height, width = part.array.shape[:2]
        return _block(self.layout.image_start, slot, height * width // multiple**2, self.layout.image_end)

    def _sound(self, tokens: int) -> Ids:
        return _block(self.layout.sound_start, self.layout.sound, tokens, self.layout.sound_end)


def _group(part: Part) -> PartKind:
    return PartKind.FRAME if part.kind is PartKind.AUDIO else part.kind


def _block(start: int, slot: int, slots: int, end: int) -> Ids:
    return np.asarray([start, *[slot] * slots, end], np.int32)


def _spread(tokens: int, per_second: int, seconds: Sequence[int]) -> dict[int, int]:
    """Soft tokens of a sound over the seconds of its video; the last second takes what rounding left."""
    counts = {at: min(per_second, max(0, tokens - i * per_second)) for i, at in enumerate(seconds)}
    counts[seconds[-1]] += tokens - sum(counts.values())
    return counts


def _fit(part: Part, want: ImageInput | None) -> Part:
    if want is None:
        raise AssetError(ErrorCode.MODALITY, f"the card names no {part.kind} size", Stage.PREPARE)
    height, width = part.array.shape[:2]
    side, step = want.side**2, want.multiple
    aligned = height % step == 0 and width % step == 0
    if aligned and height * width <= side < (height + step) * (width + step):
        return part
    return Part(part.kind, data=fit_pixels(Image.fromarray(part.array), want), at_ms=part.at_ms)
