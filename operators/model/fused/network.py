"""The fused network: soft tokens in the caller's order, full attention, a mean over tokens, a projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from operators.model.bert.encoder import Encoder
from operators.model.fused.asking import TextRole, told_apart
from operators.model.fused.config import FusedConfig
from operators.model.fused.hearing import AudioTokens
from operators.model.fused.shipped import ingredient_state, load_whole, pack
from operators.model.fused.vision import VisionTokens
from operators.model.onednn import PackedLinear
from operators.model.unfilled import Unfilled
from operators.parts import PartKind
from schemas.errors import ModelError

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "fused.json"
_CLOCK_S = 64.0
"""The slowest wave of a frame's time code, in seconds; the fastest is a quarter of a second."""
_CLOCK_WAVES = 8
_CLS, _SEP = 101, 102
"""The trunk's own boundary tokens, which those of media begin as."""


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

    `data` by kind: tokens int64 `[tokens]`, with their roles; image and frame float32 `[vision_dim]`; audio float32
    `[steps, audio_dim]` of the audio encoder.
    """

    kind: PartKind
    data: torch.Tensor
    at_ms: int | None = None


class FusedNetwork(nn.Module):
    """From pieces to one vector an input; towers run outside, frozen or not."""

    def __init__(self, config: FusedConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Encoder(config.trunk)
        self.vision = VisionTokens(config)
        self.audio = AudioTokens(config)
        self.markers = nn.Embedding(len(Marker), config.hidden)
        self.clock = nn.Linear(2 * _CLOCK_WAVES, config.hidden, bias=False)
        self.roles = nn.Embedding(len(TextRole), config.hidden, padding_idx=TextRole.PLAIN)
        self.projection = nn.Linear(config.hidden, config.dim, bias=False)
        nn.init.normal_(self.markers.weight, std=0.02)
        nn.init.zeros_(self.clock.weight)
        nn.init.zeros_(self.roles.weight)
        nn.init.eye_(self.projection.weight)

    def forward(self, inputs: Sequence[Sequence[Piece]]) -> torch.Tensor:
        """Vectors of a batch: `[inputs, dim]`, of any length.

        Raises:
            ValueError: an input has no piece, or is longer than the trunk's positions.
        """
        return self.read(self.rows(inputs))

    def read(self, rows: Sequence[torch.Tensor]) -> torch.Tensor:
        """Vectors of rows of the trunk's input, `[tokens, hidden]` each: `[rows, dim]`.

        Raises:
            ValueError: a row is longer than the trunk's positions.
        """
        longest = max(len(row) for row in rows)
        if longest > self.config.positions:
            raise ValueError(f"an input takes {longest} tokens, the trunk has {self.config.positions}")
        lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
        padded = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
        mask = torch.arange(longest, device=lengths.device)[None, :] < lengths[:, None]
        whole = all(len(row) == longest for row in rows)
        hidden = self.trunk(padded, None if whole else mask[:, None, None])
        mean = (hidden * mask[..., None]).sum(1) / lengths[:, None]
        vectors: torch.Tensor = self.projection(mean)
        return vectors

    def rows(self, inputs: Sequence[Sequence[Piece]]) -> list[torch.Tensor]:
        """The trunk's input of each: `[tokens, hidden]`; an adapter reads all pieces of its kind at once."""
        words = self.trunk.embeddings.word_embeddings
        soft = {kind: iter(self._soft(kind, inputs, words.weight)) for kind in _MARKERS}

        def embed(piece: Piece) -> torch.Tensor:
            if piece.kind is PartKind.TOKENS:
                places, roles = told_apart(piece.data)
                found: torch.Tensor = words(places) + self.roles(roles)
                return found
            return self.between(piece.kind, next(soft[piece.kind]), piece.at_ms)

        return [torch.cat([embed(piece) for piece in pieces]) for pieces in inputs]

    def _soft(
        self, kind: PartKind, inputs: Sequence[Sequence[Piece]], words: torch.Tensor
    ) -> list[torch.Tensor]:
        """Soft tokens of every piece of a kind, in the order of the batch."""
        features = [p.data for pieces in inputs for p in pieces if p.kind is kind]
        if kind is PartKind.AUDIO:
            heard: list[torch.Tensor] = self.audio(features, words)
            return heard
        worded = [any(p.kind is PartKind.TOKENS for p in pieces) for pieces in inputs]
        beside = [flag for flag, pieces in zip(worded, inputs, strict=True) for p in pieces if p.kind is kind]
        seen: list[torch.Tensor] = self.vision(features, beside)
        return seen

    def between(self, kind: PartKind, soft: torch.Tensor, at_ms: int | None = None) -> torch.Tensor:
        """Soft tokens `[tokens, hidden]` between the boundary tokens of their kind; the first carries the moment."""
        start, end = _MARKERS[kind]
        first, last = self.markers.weight[start], self.markers.weight[end]
        if at_ms is not None:
            first = first + self.clock(time_code(at_ms, soft))
        return torch.cat([first[None], soft, last[None]])

    def save(self, folder: Path, *, packed: bool = False) -> None:
        """Write config and weights; packed for shipping, or exact and whole.

        Raises:
            ModelError: the trunk is packed for a CPU: its weights are no more to be had.
        """
        if any(isinstance(module, PackedLinear) for module in self.modules()):
            raise ModelError(
                f"a network that is packed for a CPU cannot be saved to '{folder}': load it anew"
            )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_FILE).write_text(self.config.model_dump_json(indent=2), encoding="utf-8")
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        partial = folder / f"{WEIGHTS_FILE}.partial"
        save_file(pack(state, ingredient_state()) if packed else state, partial)
        # A network may still be mapped from the file that was here.
        partial.replace(folder / WEIGHTS_FILE)


def time_code(at_ms: int, like: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of a moment: `[16]`, on the device and of the type of `like`."""
    periods = torch.logspace(0, 1, _CLOCK_WAVES, base=_CLOCK_S * 4) / 4
    angle = 2 * torch.pi * (at_ms / 1_000) / periods
    return torch.cat([angle.sin(), angle.cos()]).to(like)


def load_network(folder: Path) -> FusedNetwork:
    """A saved network in evaluation mode; what its file lacks is read from the ingredients.

    Raises:
        ModelError: the folder holds no fused model, or weights of another shape; an ingredient is missing.
    """
    try:
        config = FusedConfig.model_validate_json((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        with Unfilled():
            network = FusedNetwork(config)
        network.load_state_dict(load_whole(folder / WEIGHTS_FILE), assign=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"'{folder}' is not a fused model: {reason}") from error
    return network.eval()


def from_ingredients(config: FusedConfig) -> FusedNetwork:
    """An untrained network on the pretrained trunk and classifier: its vectors of text are the trunk's own.

    Raises:
        ModelError: an ingredient is missing or another one.
    """
    network = FusedNetwork(config)
    network.load_state_dict(ingredient_state(), strict=False)
    words = network.trunk.embeddings.word_embeddings.weight.detach()
    with torch.no_grad():
        network.markers.weight[0::2] = words[_CLS]
        network.markers.weight[1::2] = words[_SEP]
    return network.eval()
