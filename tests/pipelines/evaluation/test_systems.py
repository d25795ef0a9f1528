"""Systems that stand on one tower share what it saw."""

from __future__ import annotations

import torch

from pipelines.evaluation.systems import SeenOnce


def test_a_picture_is_seen_once_and_keeps_its_place() -> None:
    batches: list[int] = []

    def see(pixels: torch.Tensor) -> torch.Tensor:
        batches.append(len(pixels))
        return pixels.float().mean((1, 2))

    tower = SeenOnce(see)
    pixels = torch.randint(
        0, 256, (5, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    shown = pixels[[0, 1, 0, 2]]
    torch.testing.assert_close(tower(shown), shown.float().mean((1, 2)))
    torch.testing.assert_close(tower(pixels.flip(0)), pixels.flip(0).float().mean((1, 2)))
    assert batches == [3, 2]
