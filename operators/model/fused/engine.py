"""The loaded fused model: towers over the media of many inputs at once, then the trunk over rows sorted by length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from operators.model.batching import micro_batches
from operators.model.contract import Inputs
from operators.model.device import products_in, token_budget
from operators.model.fused.network import FusedNetwork, Piece
from operators.model.lazy import loaded_when_called
from operators.parts import Part, PartKind

if TYPE_CHECKING:
    from operators.model.fused.efficientnet import VisionTower
    from operators.model.fused.towers import AudioTower

See = Callable[[torch.Tensor], torch.Tensor]
"""uint8 pixels `[pictures, side, side, 3]` to features `[pictures, vision_dim]`."""
Hear = Callable[[Sequence[npt.NDArray[np.int16]]], list[torch.Tensor]]
"""Sounds (mono, 16 kHz) to features of each, `[rows, audio_dim]`."""

_PICTURES = {"cpu": 8}
"""A core's cache holds what so few become in the tower: 32 take 1.4 times as long."""
_PICTURES_GPU = 256
_PICTURES_A_GROUP, _SECONDS_A_GROUP = 1_024, 960
"""Media whose inputs are read together: more hold more features in memory."""
_SECOND = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedEngine:
    """Network and towers on one device; `dtype` is that of their matrix products.

    A tower is loaded when the first medium needs it: a run over pictures never holds what hears.
    """

    network: FusedNetwork
    vision: See
    hearing: Hear
    device: torch.device
    dtype: torch.dtype = torch.float32

    @classmethod
    def of(
        cls,
        network: FusedNetwork,
        vision: Callable[[], VisionTower],
        hearing: Callable[[], AudioTower],
        dtype: torch.dtype,
    ) -> FusedEngine:
        """The engine of parts on one device, whose weights are held in the type of their products from now on.

        Args:
            network: loaded.
            vision: loads the tower, onto the network's device.
            hearing: likewise.
            dtype: of matrix products.
        """
        network.trunk.multiply_in(dtype)

        def see() -> See:
            tower = vision()
            tower.multiply_in(dtype)
            return tower

        def hear() -> Hear:
            tower = hearing()
            tower.pack()
            return tower.encode

        device = network.projection.weight.device
        return cls(
            network=network,
            vision=loaded_when_called(see),
            hearing=loaded_when_called(hear),
            device=device,
            dtype=dtype,
        )

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Vectors of prepared inputs of any mix of kinds: float32 `[inputs, dim]`, of any length.

        An input longer than the trunk's positions is read in several passes, and the mean over its tokens is the
        mean over those of all passes.

        Raises:
            ModelError: a tower that these inputs are the first to need cannot be read.
        """
        with torch.inference_mode():
            # In float32: what says a medium in tokens is small, and its kernel magnifies what a product is off.
            rows = [row for group in self._groups(inputs) for row in self.network.rows(self._pieces(group))]
            vectors = self._read(rows)
        return np.asarray(vectors.float().cpu().numpy(), np.float32)

    def _read(self, rows: Sequence[torch.Tensor]) -> torch.Tensor:
        """Vectors `[rows, dim]`, from batches of about equally long passes."""
        most = self.network.config.positions
        passes = [(i, row[at : at + most]) for i, row in enumerate(rows) for at in range(0, len(row), most)]
        vectors = torch.zeros(len(rows), self.network.config.dim, device=self.device)
        for batch in micro_batches([len(part) for _, part in passes], token_budget(self.device)):
            owners = torch.tensor([passes[i][0] for i in batch], device=self.device)
            weights = torch.tensor(
                [len(passes[i][1]) / len(rows[passes[i][0]]) for i in batch], device=self.device
            )
            with products_in(self.dtype, self.device):
                found = self.network.read([passes[i][1] for i in batch])
            vectors.index_add_(0, owners, found.float() * weights[:, None])
        return vectors

    def _groups(self, inputs: Inputs) -> Iterator[list[tuple[Part, ...]]]:
        """Inputs in order, cut where the features of their media would be too many."""
        group: list[tuple[Part, ...]] = []
        load = 0.0
        for parts in inputs:
            group.append(parts)
            load += sum(map(_load, parts))
            if load >= 1:
                yield group
                group, load = [], 0.0
        if group:
            yield group

    @property
    def _pictures(self) -> int:
        return _PICTURES.get(self.device.type, _PICTURES_GPU)

    def _pieces(self, inputs: Inputs) -> list[list[Piece]]:
        media = [part for parts in inputs for part in parts]
        seen = iter(self.see([p.array for p in media if p.kind in (PartKind.IMAGE, PartKind.FRAME)]))
        heard = iter(self.hear([p.array for p in media if p.kind is PartKind.AUDIO]))

        def piece(part: Part) -> Piece:
            if part.kind is PartKind.TOKENS:
                ids = torch.from_numpy(part.array.astype(np.int64)).to(self.device)
                return Piece(PartKind.TOKENS, ids)
            return Piece(part.kind, next(heard if part.kind is PartKind.AUDIO else seen), part.at_ms)

        return [[piece(part) for part in parts] for parts in inputs]

    def see(self, pixels: Sequence[npt.NDArray[np.uint8]]) -> list[torch.Tensor]:
        """Features of each picture; pixels cross to the device as uint8."""
        found: list[torch.Tensor] = []
        for start in range(0, len(pixels), self._pictures):
            batch = torch.from_numpy(np.stack(pixels[start : start + self._pictures]))
            found.extend(self.vision(batch.to(self.device)))
        return found

    def hear(self, sounds: Sequence[npt.NDArray[np.int16]]) -> list[torch.Tensor]:
        """Features of each sound: a row for each token heard in it."""
        return self.hearing(sounds) if sounds else []


def _load(part: Part) -> float:
    """The share of a group that a part takes."""
    if part.kind is PartKind.AUDIO:
        return len(part.array) / (_SECONDS_A_GROUP * _SECOND)
    return 0.0 if part.kind is PartKind.TOKENS else 1 / _PICTURES_A_GROUP
