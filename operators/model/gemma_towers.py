"""EmbeddingGemma 2's towers over all media of a batch: pictures packed without padding, sounds by their length."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from operators.model.batching import micro_batches
from operators.model.gemma_inputs import GemmaLayout
from operators.model.packed_attention import NAME, Pack
from operators.model.packing import Packed, packs
from operators.model.upload import Upload

if TYPE_CHECKING:
    from transformers import EmbeddingGemma2Model, Gemma4AudioFeatureExtractor

_INT16 = 32_768.0
_AUDIO_WASTE = 0.125


class Vision:
    """The vision tower and its projection: pictures and frames of any sizes to soft tokens."""

    def __init__(self, model: EmbeddingGemma2Model, layout: GemmaLayout, budget: int, upload: Upload) -> None:
        tower: Any = model.vision_tower
        tower.set_attn_implementation(NAME)
        self._tower = tower
        self.layers: Any = tower.encoder.layers
        self._project: Any = model.embed_vision
        self._patch, self._pool = layout.patch, layout.pool
        self._budget = budget
        self._upload = upload

    def __call__(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> torch.Tensor:
        """Soft tokens of the pictures, one behind the other: `[soft tokens, text width]`.

        Args:
            pictures: uint8 `[height, width, 3]`, sides multiples of patch x pool.
        """
        # Pictures of one shape are cut in one go.
        order = sorted(range(len(pictures)), key=lambda i: pictures[i].shape)
        patches = [pictures[i].shape[0] * pictures[i].shape[1] // self._patch**2 for i in order]
        soft: dict[int, torch.Tensor] = {}
        for pack in packs(patches, self._budget):
            members = [order[i] for i in pack]
            found: Any = self._forward([pictures[i] for i in members])
            sizes = [patches[i] // self._pool**2 for i in pack]
            soft.update(zip(members, found.split(sizes), strict=True))
        return torch.cat([soft[i] for i in range(len(pictures))])

    def _forward(self, pictures: list[npt.NDArray[np.uint8]]) -> torch.Tensor:
        pixels, positions = self._patches(pictures)
        sizes = tuple(p.shape[0] * p.shape[1] // self._patch**2 for p in pictures)
        tower, device = self._tower, pixels.device
        real = torch.zeros(pixels.shape[:2], dtype=torch.bool, device=device)
        embedded = tower.patch_embedder(pixels, positions, real)
        hidden = tower.encoder(
            embedded,
            attention_mask=None,
            pixel_position_ids=positions,
            pack=Pack(Packed(sizes), self._upload),
        ).last_hidden_state
        # Patches come square by square, so that each square of the pool is a picture of its own.
        squares = hidden.view(-1, self._pool**2, hidden.shape[-1])
        places = (positions % self._pool).view(-1, self._pool**2, 2)
        pooled, _ = tower.pooler(squares, places, real.view(-1, self._pool**2), output_length=1)
        soft = pooled[:, 0]
        if tower.config.standardize:
            soft = (soft - tower.std_bias.float()) * tower.std_scale.float()
        projected: torch.Tensor = self._project(inputs_embeds=soft.to(embedded.dtype))
        return projected

    def _patches(self, pictures: list[npt.NDArray[np.uint8]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels in 0..1 `[1, patches, patch * patch * 3]` and their x and y `[1, patches, 2]`, square by square."""
        flat = self._upload(np.concatenate([picture.reshape(-1) for picture in pictures]))
        shapes = [picture.shape[:2] for picture in pictures]
        positions = [_squares(h // self._patch, w // self._patch, self._pool) for h, w in shapes]
        cut, start = [], 0
        for (height, width), same in groupby(shapes):
            count = len(list(same))
            end = start + count * height * width * 3
            cut.append(_cut(flat[start:end].view(count, height, width, 3), self._patch, self._pool))
            start = end
        return torch.cat(cut)[None].float() / 255, self._upload(np.concatenate(positions))[None]


def _cut(pictures: torch.Tensor, patch: int, pool: int) -> torch.Tensor:
    """Patches of pictures of one shape, in the order of `_squares`: `[patches, patch * patch * 3]`."""
    count, height, width, _ = pictures.shape
    side = patch * pool
    grid = pictures.view(count, height // side, pool, patch, width // side, pool, patch, 3)
    return grid.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(-1, patch * patch * 3)


@lru_cache(maxsize=512)
def _squares(rows: int, columns: int, pool: int) -> npt.NDArray[np.int64]:
    """x and y of a picture's patches, square by square of `pool` x `pool`: int64 `[patches, 2]`."""
    y, x = np.mgrid[:rows, :columns]
    grid = np.stack([x, y], -1).reshape(rows // pool, pool, columns // pool, pool, 2)
    return np.ascontiguousarray(grid.swapaxes(1, 2).reshape(-1, 2))


class Hearing:
    """The audio tower and its projection: sounds of any length to soft tokens."""

    def __init__(
        self,
        model: EmbeddingGemma2Model,
        extractor: Gemma4AudioFeatureExtractor,
        layout: GemmaLayout,
        budget: int,
        upload: Upload,
    ) -> None:
        tower: Any = model.audio_tower
        self._tower = tower
        self.layers: Any = tower.layers
        self._project: Any = model.embed_audio
        self._mel = Mel(extractor, model.device)
        self._layout = layout
        self._budget = budget
        self._upload = upload

    def __call__(self, sounds: Sequence[npt.NDArray[np.int16]]) -> torch.Tensor:
        """Soft tokens of the sounds, one behind the other: `[soft tokens, text width]`; int16 samples come in."""
        tokens = [self._layout.sound_tokens(len(sound)) for sound in sounds]
        soft: dict[int, torch.Tensor] = {}
        for batch in micro_batches(tokens, self._budget, waste=_AUDIO_WASTE):
            lengths = [tokens[i] for i in batch]
            found = self._forward([sounds[i] for i in batch], lengths)
            soft.update((i, row[:length]) for i, row, length in zip(batch, found, lengths, strict=True))
        return torch.cat([soft[i] for i in range(len(sounds))])

    def _forward(self, sounds: list[npt.NDArray[np.int16]], tokens: list[int]) -> torch.Tensor:
        waves = np.zeros((len(sounds), max(map(len, sounds))), np.int16)
        for wave, sound in zip(waves, sounds, strict=True):
            wave[: len(sound)] = sound
        frames = np.array([self._layout.mel_frames(len(sound)) for sound in sounds])
        mel, heard = self._mel(self._upload(waves), self._upload(frames))
        tower = self._tower
        hidden, _ = tower.subsample_conv_projection(mel, heard)
        unseen = self._unseen(self._upload(np.array(tokens)), hidden.shape[1])
        places = tower.rel_pos_enc(hidden)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=unseen, position_embeddings=places)
        projected: torch.Tensor = self._project(inputs_embeds=tower.output_proj(hidden))
        return projected

    def _unseen(self, tokens: torch.Tensor, longest: int) -> torch.Tensor:
        """What each token's chunk does not see: bool `[sounds, 1, chunks, chunk, context]`, made chunk by chunk."""
        config, device = self._tower.config, tokens.device
        chunk, past = config.attention_chunk_size, config.attention_context_left - 1
        future = config.attention_context_right
        starts = torch.arange(0, longest, chunk, device=device)[:, None, None]
        asks = starts + torch.arange(chunk, device=device)[:, None]
        keys = starts - past + torch.arange(chunk + past + future, device=device)
        apart = asks - keys
        near = (keys >= 0) & ((apart >= 0) & (apart < past) | (apart < 0) & (-apart < future))
        unseen: torch.Tensor = ~(near & (keys < tokens[:, None, None, None]))[:, None]
        return unseen


class Mel:
    """Log-mel frames on the device, by the settings of the model's own extractor; dither, a noise, is left out."""

    def __init__(self, extractor: Gemma4AudioFeatureExtractor, device: torch.device) -> None:
        self._own: Any = extractor
        arrays = (extractor.window, extractor.mel_filters, extractor.per_bin_mean, extractor.per_bin_stddev)
        self._window, self._filters, self._mean, self._deviation = (
            None if array is None else torch.as_tensor(array, dtype=torch.float32, device=device)
            for array in arrays
        )

    def __call__(self, waves: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of padded sounds.

        Args:
            waves: int16 `[sounds, samples]`.
            frames: how many mel frames lie wholly in each sound, int64 `[sounds]`.

        Returns:
            float32 `[sounds, frames, bins]`, zero beyond a sound's end, and which frames are a sound's own.
        """
        own = self._own
        scaled = waves.float() * (own.input_scale_factor / _INT16)
        scaled = torch.nn.functional.pad(scaled, (own.frame_length // 2, 0))
        cut = scaled.unfold(-1, own.frame_length + 1, own.hop_length)
        spectrum = torch.fft.rfft(self._emphasised(cut) * self._window, n=own.fft_length).abs()
        mel = (spectrum @ self._filters + float(own.mel_floor)).log()
        if self._mean is not None:
            mel = mel - self._mean
        if self._deviation is not None:
            mel = mel / self._deviation
        heard = torch.arange(mel.shape[1], device=mel.device) < frames[:, None]
        return mel * heard[..., None], heard

    def _emphasised(self, cut: torch.Tensor) -> torch.Tensor:
        share: float = self._own.preemphasis
        if not share:
            return cut[..., :-1]
        if not self._own.preemphasis_htk_flavor:
            return cut[..., 1:] - share * cut[..., :-1]
        return torch.cat([cut[..., :1] * (1 - share), cut[..., 1:-1] - share * cut[..., :-2]], -1)
