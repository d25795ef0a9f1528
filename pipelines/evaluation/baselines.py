"""Baselines that every trained model is shown beside: frozen towers, and the least that can be learned on them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pipelines.training.losses import Batch, nce

Vectors = npt.NDArray[np.float32]
Transfer = Callable[[Vectors], Vectors]


def knn_transfer(
    features: Vectors, captions: Vectors, reduce: Transfer, neighbours: int = 10, sharpness: float = 20.0
) -> Transfer:
    """A picture's vector is the mean caption of the training pictures that look most like it.

    Args:
        features: float32 `[pictures, features]` of the training pictures.
        captions: float32 `[pictures, dim]`, a vector of each one's captions.
        reduce: features `[pictures, features]` to the unit vectors in which likeness is the cosine.
        neighbours: pictures that are averaged.
        sharpness: of the softmax over likeness that weighs them.

    Returns:
        Features `[pictures, features]` to vectors `[pictures, dim]`.
    """
    bank = reduce(features)

    def embed(x: Vectors) -> Vectors:
        likeness = reduce(x) @ bank.T
        near = np.argsort(-likeness, axis=1, kind="stable")[:, :neighbours]
        weights = np.exp(sharpness * (np.take_along_axis(likeness, near, 1) - 1))
        weights /= weights.sum(1, keepdims=True)
        return np.asarray((captions[near] * weights[..., None]).sum(1), np.float32)

    return embed


def mlp_transfer(
    features: Vectors,
    captions: Sequence[Vectors],
    groups: Sequence[str],
    hidden: int = 1_024,
    epochs: int = 60,
    seed: int = 0,
) -> Transfer:
    """A network of one hidden layer on frozen features, trained by contrast with captions, stopped early.

    Args:
        features: float32 `[inputs, features]`.
        captions: for each input the vectors `[captions, dim]` of what is said of it; one is drawn a step.
        groups: what must not be on both sides of the validation split: a noun, a sentence.
        hidden: units of the hidden layer.
        epochs: at most.
        seed: of the initial weights, the order and the draws.

    Returns:
        Features `[inputs, features]` to vectors `[inputs, dim]`.
    """
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Dropout(0.2), nn.Linear(features.shape[1], hidden), nn.GELU(), nn.Dropout(0.2),
        nn.Linear(hidden, captions[0].shape[1]),
    )  # fmt: skip
    return _fitted(network, nn.Identity(), features, captions, groups, epochs, seed)[0]


def paired_projections(
    features: Vectors, captions: Sequence[Vectors], groups: Sequence[str], epochs: int = 60, seed: int = 0
) -> tuple[Transfer, Transfer]:
    """CLIP's fusion of two frozen encoders: a linear projection of each into one space, trained by contrast.

    Arguments are those of `mlp_transfer`. The text's projection starts as the identity.

    Returns:
        Features `[inputs, features]` to vectors `[inputs, dim]`, and text vectors `[texts, dim]` to such.
    """
    torch.manual_seed(seed)
    dim = captions[0].shape[1]
    say = nn.Linear(dim, dim, bias=False)
    nn.init.eye_(say.weight)
    return _fitted(nn.Linear(features.shape[1], dim), say, features, captions, groups, epochs, seed)


def _fitted(
    see: nn.Module,
    say: nn.Module,
    features: Vectors,
    captions: Sequence[Vectors],
    groups: Sequence[str],
    epochs: int,
    seed: int,
) -> tuple[Transfer, Transfer]:
    """Both maps at the best epoch, chosen on one of eight groups, which stay out of training."""
    rng = random.Random(seed)  # noqa: S311
    names = sorted(set(groups))
    kept_out = set(rng.sample(names, max(1, len(names) // 8)))
    train = [i for i, group in enumerate(groups) if group not in kept_out]
    held = [i for i, group in enumerate(groups) if group in kept_out]
    mean, spread = features[train].mean(0), features[train].std(0) + 1e-6
    x = torch.from_numpy((features - mean) / spread)
    pair = nn.ModuleList([see, say])
    validation = torch.from_numpy(np.stack([captions[i][0] for i in held]))
    best, state = float("inf"), {k: v.clone() for k, v in pair.state_dict().items()}
    optimizer = torch.optim.AdamW(pair.parameters(), lr=1e-3, weight_decay=0.05)
    for _ in range(epochs):
        rng.shuffle(train)
        pair.train()
        for rows in (train[i : i + 256] for i in range(0, len(train) - 1, 256)):
            said = np.stack([captions[i][rng.randrange(len(captions[i]))] for i in rows])
            optimizer.zero_grad()
            loss = _contrast(see(x[rows]), torch.from_numpy(said), say)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        pair.eval()
        with torch.inference_mode():
            value = float(_contrast(see(x[held]), validation, say))
        if value < best:
            best, state = value, {k: v.clone() for k, v in pair.state_dict().items()}
    pair.load_state_dict(state)

    def seen(fresh: Vectors) -> Vectors:
        with torch.inference_mode():
            found = see(torch.from_numpy(((fresh - mean) / spread).astype(np.float32)))
        return np.asarray(found.numpy(), np.float32)

    def said_as(fresh: Vectors) -> Vectors:
        with torch.inference_mode():
            return np.asarray(say(torch.from_numpy(fresh)).numpy(), np.float32)

    return seen, said_as


def _contrast(found: torch.Tensor, said: torch.Tensor, say: nn.Module) -> torch.Tensor:
    """Both directions; equal captions are no negatives of each other."""
    _, ids = torch.unique(said, dim=0, return_inverse=True)
    rows, said = torch.arange(len(found)), say(said)
    one = nce(Batch(queries=found, positives=said, query_ids=rows, positive_ids=ids), 0.05)
    other = nce(Batch(queries=said, positives=found, query_ids=ids, positive_ids=rows), 0.05)
    return (one + other) / 2
