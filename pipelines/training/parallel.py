"""Several processes, one batch: each embeds its share, all see the whole loss, gradients are summed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Peers:
    """The processes of a run as one of them sees them; alone unless `torchrun` started several.

    Negatives are those of the whole batch, so the gradient is that of one process with all of it.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Peers:
        """The initialized process group, or this process alone."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def bounds(self, total: int) -> tuple[int, int]:
        """Begin and end of this process' share of `total` inputs; shares differ by one at most."""
        return self.rank * total // self.size, (self.rank + 1) * total // self.size

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process' part of a batch that all of them drew."""
        first, last = self.bounds(len(items))
        return items[first:last]

    def gather(self, mine: torch.Tensor, total: int) -> torch.Tensor:
        """Vectors `[total, dim]` of the whole batch from each process' share, without gradient."""
        if self.size == 1:
            return mine.detach()
        longest = -(-total // self.size)
        padded = nn.functional.pad(mine.detach(), (0, 0, 0, longest - len(mine)))
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        sizes = [Peers(rank, self.size).bounds(total) for rank in range(self.size)]
        return torch.cat([part[: last - first] for part, (first, last) in zip(parts, sizes, strict=True)])

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up what each process' share gave; a parameter that a share did not use counts as zero there."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.requires_grad:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()
