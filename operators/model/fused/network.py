"""The fused network: soft tokens in the caller's order, full attention, a mean over tokens, a projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BertConfig, BertModel

from operators.model.fused.config import FusedConfig
from operators.parts import PartKind
from schemas.errors import ModelError

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "fused.json"
_CLOCK_S = 64.0
"""The slowest wave of a frame's time code, in seconds; the fastest is a quarter of a second."""
_CLOCK_WAVES = 8


class Marker(IntEnum):
    """Boundary tokens around media."""

    IMAGE_START = 0
    IMAGE_END = 1
    FRAME_START = 2
    FRAME_END = 3
    AUDIO_START = 4
    AUDIO_END = 5


_MARKERS = {
    PartKind.IMAGE: (Marker.IMAGE_START, Marker.IMAGE_END),
    PartKind.FRAME: (Marker.FRAME_START, Marker.FRAME_END),
    PartKind.AUDIO: (Marker.AUDIO_START, Marker.AUDIO_END),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """One part for the network, on its device.

    `data` by kind: tokens int64 `[tokens]`; image and frame float32 `[1 + side^2, vision_dim]`, the class token
    first; audio float32 `[steps, audio_dim]` of the audio encoder.
    """

    kind: PartKind
    data: torch.Tensor
    at_ms: int | None = None


class FusedNetwork(nn.Module):
    """From pieces to one vector an input; towers run outside, frozen or not."""

    def __init__(self, config: FusedConfig) -> None:
        super().__init__()
        self.config = config
        bert = BertConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.intermediate,
            max_position_embeddings=config.positions,
        )
        self.trunk: Any = BertModel(bert, add_pooling_layer=False)
        self.vision = SoftTokens(config.vision_dim, config.hidden)
        self.audio = SoftTokens(config.audio_dim * config.audio_stack, config.hidden)
        self.markers = nn.Embedding(len(Marker), config.hidden)
        self.clock = nn.Linear(2 * _CLOCK_WAVES, config.hidden, bias=False)
        self.projection = nn.Linear(config.hidden, config.dim, bias=False)
        nn.init.normal_(self.markers.weight, std=0.02)
        nn.init.zeros_(self.clock.weight)
        nn.init.eye_(self.projection.weight)

    def forward(self, inputs: Sequence[Sequence[Piece]]) -> torch.Tensor:
        """Vectors of a batch: `[inputs, dim]`, of any length.

        Raises:
            ValueError: an input has no piece, or is longer than the trunk's positions.
        """
        rows = [torch.cat([self._embed(piece) for piece in pieces]) for pieces in inputs]
        longest = max(len(row) for row in rows)
        if longest > self.config.positions:
            raise ValueError(f"an input takes {longest} tokens, the trunk has {self.config.positions}")
        lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
        padded = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
        mask = torch.arange(longest, device=lengths.device)[None, :] < lengths[:, None]
        hidden = self.trunk(inputs_embeds=padded, attention_mask=mask.long()).last_hidden_state
        mean = (hidden * mask[..., None]).sum(1) / lengths[:, None]
        vectors: torch.Tensor = self.projection(mean)
        return vectors

    def _embed(self, piece: Piece) -> torch.Tensor:
        """The trunk's input of one piece: `[tokens, hidden]`."""
        if piece.kind is PartKind.TOKENS:
            words: torch.Tensor = self.trunk.embeddings.word_embeddings(piece.data)
            return words
        if piece.kind is PartKind.AUDIO:
            soft = self.audio(stack_steps(piece.data, self.config.audio_stack))
        else:
            image = piece.kind is PartKind.IMAGE
            soft = self.vision(pool_patches(piece.data, self._grid(image)))
        start, end = _MARKERS[piece.kind]
        first, last = self.markers.weight[start], self.markers.weight[end]
        if piece.at_ms is not None:
            first = first + self.clock(time_code(piece.at_ms, soft))
        return torch.cat([first[None], soft, last[None]])

    def _grid(self, image: bool) -> int:
        return self.config.image_grid if image else self.config.frame_grid

    def save(self, folder: Path) -> None:
        """Write config and weights."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_FILE).write_text(self.config.model_dump_json(indent=2), encoding="utf-8")
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, folder / WEIGHTS_FILE)


class SoftTokens(nn.Module):
    """Encoder features into the trunk's space: a linear map and a network beside it that starts at nothing."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, hidden)
        self.network = nn.Sequential(nn.Linear(width, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, hidden))
        last = self.network[2]
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[tokens, width]` to `[tokens, hidden]`."""
        x = self.norm(features)
        soft: torch.Tensor = self.linear(x) + self.network(x)
        return soft


def pool_patches(features: torch.Tensor, grid: int) -> torch.Tensor:
    """The class token and the patches averaged to a `grid` x `grid`: `[1 + grid^2, width]`."""
    side = round((len(features) - 1) ** 0.5)
    patches = features[1:].T.reshape(1, -1, side, side)
    pooled = nn.functional.adaptive_avg_pool2d(patches, grid)
    return torch.cat([features[:1], pooled[0].flatten(1).T])


def stack_steps(features: torch.Tensor, stack: int) -> torch.Tensor:
    """Neighbouring encoder steps side by side, the end filled with zeros: `[ceil(steps / stack), stack * width]`."""
    missing = -len(features) % stack
    filled = nn.functional.pad(features, (0, 0, 0, missing))
    return filled.reshape(-1, stack * features.shape[1])


def time_code(at_ms: int, like: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of a moment: `[16]`, on the device and of the type of `like`."""
    periods = torch.logspace(0, 1, _CLOCK_WAVES, base=_CLOCK_S * 4) / 4
    angle = 2 * torch.pi * (at_ms / 1_000) / periods
    return torch.cat([angle.sin(), angle.cos()]).to(like)


def load_network(folder: Path) -> FusedNetwork:
    """A saved network in evaluation mode.

    Raises:
        ModelError: the folder holds no fused model, or weights of another shape.
    """
    try:
        config = FusedConfig.model_validate_json((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        network = FusedNetwork(config)
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"'{folder}' is not a fused model: {reason}") from error
    return network.eval()


def from_minilm(folder: Path) -> FusedNetwork:
    """A network whose trunk is all-MiniLM-L6-v2: its vectors of text are MiniLM's before any training."""
    network = FusedNetwork(FusedConfig())
    state = load_file(folder / "model.safetensors")
    kept = {k: v for k, v in state.items() if not k.startswith("pooler.") and not k.endswith("position_ids")}
    network.trunk.load_state_dict(kept)
    return network.eval()
