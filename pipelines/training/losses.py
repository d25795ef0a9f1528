"""Contrastive and distillation losses of the Gemini Embedding recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from pipelines.training.parallel import Peers

T = TypeVar("T")
ALONE = Peers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a loss looks at, `[batch, dim]` each: queries, their positives, and a hard negative each or none.

    `query_ids` and `positive_ids` int64 `[batch]`: equal ids are the same query or the same positive.
    """

    queries: torch.Tensor
    positives: torch.Tensor
    query_ids: torch.Tensor
    positive_ids: torch.Tensor
    negatives: torch.Tensor | None = None

    def cut(self, width: int) -> Batch:
        """The leading `width` axes of every vector."""
        hard = None if self.negatives is None else self.negatives[:, :width]
        return Batch(
            queries=self.queries[:, :width],
            positives=self.positives[:, :width],
            query_ids=self.query_ids,
            positive_ids=self.positive_ids,
            negatives=hard,
        )


def nce(batch: Batch, temperature: float) -> torch.Tensor:
    """In-batch contrast by cosine, a scalar (Gemini Embedding, eq. 1, the positive kept in the denominator).

    A column is no negative of a row that has the same query or the same positive; the row's own positive stays.
    """
    queries = nn.functional.normalize(batch.queries, dim=1)
    positives = nn.functional.normalize(batch.positives, dim=1)
    same = batch.query_ids[:, None] == batch.query_ids[None, :]
    same = same | (batch.positive_ids[:, None] == batch.positive_ids[None, :])
    same = same & ~torch.eye(len(queries), dtype=torch.bool, device=queries.device)
    scores = (queries @ positives.T / temperature).masked_fill(same, float("-inf"))
    if batch.negatives is not None:
        hard = nn.functional.normalize(batch.negatives, dim=1)
        scores = torch.cat([scores, (queries * hard).sum(1, keepdim=True) / temperature], 1)
    return nn.functional.cross_entropy(scores, torch.arange(len(queries), device=queries.device))


def matryoshka(batch: Batch, temperature: float, widths: Sequence[int]) -> torch.Tensor:
    """The mean of the contrast at every width, equally weighted."""
    return torch.stack([nce(batch.cut(width), temperature) for width in widths]).mean()


def distill(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """One minus the mean cosine of `[batch, dim]` with a teacher's vectors of the same inputs."""
    return 1 - nn.functional.cosine_similarity(student, teacher, dim=1).mean()


def cached_backward(
    embed: Callable[[Sequence[T]], torch.Tensor],
    inputs: Sequence[T],
    chunk: int,
    loss: Callable[[torch.Tensor], torch.Tensor],
    peers: Peers = ALONE,
) -> float:
    """Gradients of a loss over a batch that does not fit memory, one chunk's activations at a time (GradCache).

    Every chunk is embedded without a graph, the loss gives the gradient of each vector, then every chunk is
    embedded again under the same random state and the gradient is carried into the parameters. What fits into one
    chunk of one process is embedded once.

    Args:
        embed: inputs to vectors `[inputs, dim]`, with a graph when gradients are on.
        inputs: the batch, the same in every process.
        chunk: inputs embedded at once.
        loss: vectors of the whole batch `[batch, dim]` to a scalar.
        peers: the processes that share the batch; their gradients are not summed yet.

    Returns:
        The loss; gradients are added to the parameters'.
    """
    if peers.size == 1 and len(inputs) <= chunk:
        value = loss(embed(inputs))
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()
    mine = peers.share(inputs)
    chunks = [mine[i : i + chunk] for i in range(0, len(mine), chunk)]
    states, parts = [], []
    with torch.no_grad():
        for part in chunks:
            states.append(_random_state())
            parts.append(embed(part))
    vectors = peers.gather(torch.cat(parts), len(inputs)).requires_grad_()
    value = loss(vectors)
    (gradient,) = torch.autograd.grad(value, vectors)
    first, _ = peers.bounds(len(inputs))
    after = _random_state()
    for i, (part, state) in enumerate(zip(chunks, states, strict=True)):
        start = first + i * chunk
        _set_random_state(state)
        embed(part).backward(gradient[start : start + len(part)])  # type: ignore[no-untyped-call]
    _set_random_state(after)
    return value.item()


def _random_state() -> tuple[torch.Tensor, list[torch.Tensor]]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), cuda


def _set_random_state(state: tuple[torch.Tensor, list[torch.Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
