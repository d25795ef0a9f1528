"""A training run by stages: deterministic by seed, and resumed after any interruption as if there had been none."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import nn

from pipelines.training.losses import Batch, cached_backward, distill, matryoshka
from pipelines.training.parallel import Peers
from schemas.card import Frozen
from schemas.errors import UsageError

T = TypeVar("T")
_WEIGHTS, _OPTIMIZER, _RECORD = "model.safetensors", "optimizer.safetensors", "record.json"
_LATEST = "latest"


class Stage(Frozen):
    """One stage of the recipe.

    `shares`: how often each task is drawn; a batch is of one task. `chunk`: inputs embedded at once, the rest of
    the batch waits (GradCache). `distill`: weight of the distance from the teacher's vectors of the queries.
    `frozen`: prefixes of parameter names that do not learn.
    """

    name: str
    steps: int = Field(gt=0)
    batch: int = Field(default=128, gt=1)
    chunk: int = Field(default=32, gt=0)
    rate: float = Field(default=1e-4, gt=0)
    warmup: int = Field(default=50, ge=0)
    decay: float = Field(default=0.01, ge=0)
    temperature: float = Field(default=0.05, gt=0)
    distill: float = Field(default=0.0, ge=0)
    shares: dict[str, float]
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs(Generic[T]):
    """A batch of one task: inputs of the model and ids as in `losses.Batch`; `teacher` `[batch, dim]` or none."""

    queries: Sequence[T]
    positives: Sequence[T]
    query_ids: Sequence[int]
    positive_ids: Sequence[int]
    negatives: Sequence[T] = ()
    teacher: torch.Tensor | None = None


Task = Callable[[int, random.Random], Pairs[T]]
"""A batch of so many pairs, drawn with the given generator."""


@dataclass(slots=True)
class Trainer(Generic[T]):
    """Runs stages on a model; `embed` maps inputs to vectors `[inputs, dim]` through the model's parameters.

    `autocast` names a device type ("cuda") on which `embed` runs in bfloat16. Under `torchrun` every process makes
    one of these with the same arguments; the batch is shared among them and the first one writes.
    """

    model: nn.Module
    embed: Callable[[Sequence[T]], torch.Tensor]
    tasks: Mapping[str, Task[T]]
    widths: Sequence[int]
    folder: Path
    seed: int = 0
    save_every: int = 200
    autocast: str | None = None
    losses: list[float] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)
    peers: Peers = field(default_factory=Peers.current)

    def run(self, stages: Sequence[Stage], stop_after: int | None = None) -> list[float]:
        """Run what is left of the stages; progress lies in `folder`, a checkpoint for each stage at its end.

        Args:
            stages: in order; those of an interrupted run, unchanged.
            stop_after: stop after so many steps in all and save, as an interruption would.

        Returns:
            The loss of each step of the whole run, those before a resumption included.

        Raises:
            UsageError: a stage draws a task that is not there, or the folder holds a run of another recipe.
        """
        unknown = {name for stage in stages for name in stage.shares} - set(self.tasks)
        if unknown:
            raise UsageError(
                f"training recipe draws task '{min(unknown)}', known are {', '.join(sorted(self.tasks))}"
            )
        recipe = {"seed": self.seed, "stages": [stage.model_dump(mode="json") for stage in stages]}
        resumed = self._resume(recipe)
        done = 0
        for stage in stages:
            first, last = done, done + stage.steps
            done = last
            if len(self.losses) >= last:
                continue
            optimizer = self._optimizer(stage)
            if resumed and len(self.losses) > first:
                optimizer.load_state_dict(resumed)
            for step in range(len(self.losses), last):
                if step == stop_after:
                    self._save(_LATEST, optimizer, recipe)
                    return self.losses
                self.losses.append(self._step(stage, optimizer, step, step - first))
                if (step + 1) % self.save_every == 0:
                    self._save(_LATEST, optimizer, recipe)
            self._save(stage.name, optimizer, recipe)
            self._save(_LATEST, optimizer, recipe)
        return self.losses

    def _step(self, stage: Stage, optimizer: torch.optim.Optimizer, step: int, local: int) -> float:
        # Every step has a generator of its own, so a resumed run draws what the undisturbed one would.
        rng = random.Random(f"{self.seed}/{step}")  # noqa: S311
        torch.manual_seed(rng.getrandbits(62) + self.peers.rank)
        names = sorted(stage.shares)
        task = rng.choices(names, [stage.shares[name] for name in names])[0]
        self.drawn.append(task)
        pairs = self.tasks[task](stage.batch, rng)
        for group in optimizer.param_groups:
            group["lr"] = stage.rate * _schedule(local, stage)
        optimizer.zero_grad()
        inputs = [*pairs.queries, *pairs.positives, *pairs.negatives]
        value = cached_backward(
            self._vectors, inputs, stage.chunk, lambda v: self._loss(v, pairs, stage), self.peers
        )
        self.peers.sum_gradients(self.model.parameters())
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimizer.step()
        return value

    def _vectors(self, inputs: Sequence[T]) -> torch.Tensor:
        if self.autocast is None:
            return self.embed(inputs)
        with torch.autocast(self.autocast, torch.bfloat16):
            return self.embed(inputs).float()

    def _loss(self, vectors: torch.Tensor, pairs: Pairs[T], stage: Stage) -> torch.Tensor:
        size = len(pairs.queries)
        batch = Batch(
            queries=vectors[:size],
            positives=vectors[size : 2 * size],
            negatives=vectors[2 * size :] if pairs.negatives else None,
            query_ids=torch.tensor(pairs.query_ids, device=vectors.device),
            positive_ids=torch.tensor(pairs.positive_ids, device=vectors.device),
        )
        loss = matryoshka(batch, stage.temperature, self.widths)
        if stage.distill and pairs.teacher is not None:
            loss = loss + stage.distill * distill(batch.queries, pairs.teacher.to(vectors))
        return loss

    def _optimizer(self, stage: Stage) -> torch.optim.Optimizer:
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not name.startswith(stage.frozen) if stage.frozen else True)
        learning = [p for p in self.model.parameters() if p.requires_grad]
        return torch.optim.AdamW(learning, lr=stage.rate, weight_decay=stage.decay)

    def _save(self, name: str, optimizer: torch.optim.Optimizer, recipe: dict[str, Any]) -> None:
        """Write a checkpoint whole, by the first process: it is made beside and renamed into place by a link."""
        if self.peers.rank:
            self.peers.wait()
            return
        made = self.folder / f"{name}-{len(self.losses):07d}"
        made.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in self.model.state_dict().items()}, made / _WEIGHTS)
        state = optimizer.state_dict()["state"]
        flat = {f"{row}.{key}": value for row, entry in state.items() for key, value in entry.items()}
        save_file(flat, made / _OPTIMIZER)
        facts = {"recipe": recipe, "losses": self.losses, "drawn": self.drawn}
        (made / _RECORD).write_text(json.dumps(facts), encoding="utf-8")
        link = self.folder / f".{name}.partial"
        link.unlink(missing_ok=True)
        link.symlink_to(made.name)
        os.replace(link, self.folder / name)
        self._forget(name, made)
        self.peers.wait()

    def _forget(self, name: str, kept: Path) -> None:
        for old in self.folder.glob(f"{name}-???????"):
            if old != kept:
                for file in old.iterdir():
                    file.unlink()
                old.rmdir()

    def _resume(self, recipe: dict[str, Any]) -> dict[str, Any] | None:
        """Load the latest checkpoint; the optimizer's state, or None where a run begins."""
        latest = self.folder / _LATEST
        if not latest.exists():
            return None
        record = json.loads((latest / _RECORD).read_text(encoding="utf-8"))
        if record["recipe"] != recipe:
            raise UsageError(f"'{self.folder}' holds a run of another recipe or seed: name another folder")
        self.model.load_state_dict(load_file(latest / _WEIGHTS))
        self.losses[:], self.drawn[:] = record["losses"], record["drawn"]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in load_file(latest / _OPTIMIZER).items():
            row, _, name = key.partition(".")
            state.setdefault(int(row), {})[name] = value
        stage = _stage_at(recipe["stages"], len(self.losses))
        groups = self._optimizer(Stage(**stage)).state_dict()["param_groups"]
        return {"state": state, "param_groups": groups}


def _stage_at(stages: Sequence[dict[str, Any]], steps: int) -> dict[str, Any]:
    """The stage that the last of so many steps belongs to."""
    for stage in stages:
        steps -= stage["steps"]
        if steps <= 0:
            return stage
    return stages[-1]


def _schedule(step: int, stage: Stage) -> float:
    """Linear warm-up, then a line down to a tenth of the rate."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    left = max(1, stage.steps - stage.warmup)
    return 1 - 0.9 * (step - stage.warmup) / left
