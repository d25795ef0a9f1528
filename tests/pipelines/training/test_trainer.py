"""A run learns, is the same by seed, and is the same when it was interrupted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from pipelines.training.trainer import Pairs, Stage, Trainer
from schemas.errors import UsageError

torch.set_num_threads(1)
DIM = 8


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(DIM, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, DIM))


def mirrored(size: int, rng: random.Random) -> Pairs[torch.Tensor]:
    """A query and its positive are one point and its mirror image: a map has to be learnt."""
    points = torch.randn(size, DIM, generator=torch.Generator().manual_seed(rng.getrandbits(32)))
    ids = list(range(size))
    return Pairs(
        queries=list(points), positives=list(points.flip(1)), query_ids=ids, positive_ids=ids, teacher=points
    )


def trainer(folder: Path, seed: int = 0) -> Trainer[torch.Tensor]:
    network = model()
    tasks = {"mirror": mirrored, "again": mirrored}
    return Trainer(
        network, lambda c: network(torch.stack(list(c))), tasks, (8, 4), folder, seed=seed, save_every=7
    )


def stages(steps: int = 12) -> list[Stage]:
    shares = {"mirror": 0.7, "again": 0.3}
    return [
        Stage(
            name="first", steps=steps, batch=8, chunk=5, rate=1e-2, warmup=3, shares=shares, frozen=("0.",)
        ),
        Stage(name="second", steps=steps, batch=6, chunk=4, rate=1e-2, warmup=3, shares=shares, distill=0.5),
    ]


def test_loss_falls(tmp_path: Path) -> None:
    losses = trainer(tmp_path).run(stages(150))
    assert sum(losses[140:150]) < 0.8 * sum(losses[:10])


@pytest.mark.parametrize("stop", [1, 7, 11, 12, 13, 20, 23])
def test_interrupted_run_equals_the_undisturbed_one(tmp_path: Path, stop: int) -> None:
    whole, parts = trainer(tmp_path / "whole"), trainer(tmp_path / "parts")
    expected = whole.run(stages())
    assert len(parts.run(stages(), stop_after=stop)) == stop
    again = trainer(tmp_path / "parts")
    assert again.run(stages()) == expected
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_run_killed_between_checkpoints_repeats_only_what_was_not_saved(tmp_path: Path) -> None:
    expected = trainer(tmp_path / "whole").run(stages())
    dying = trainer(tmp_path / "parts")
    calls = 0

    def fails_late(chunk: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > 70:
            raise KeyboardInterrupt
        assert isinstance(chunk, list)
        out: torch.Tensor = dying.model(torch.stack(chunk))
        return out

    dying.embed = fails_late
    with pytest.raises(KeyboardInterrupt):
        dying.run(stages())
    assert 7 <= len(dying.losses) < 24
    assert trainer(tmp_path / "parts").run(stages()) == expected


def test_seed_decides(tmp_path: Path) -> None:
    assert trainer(tmp_path / "a").run(stages()) == trainer(tmp_path / "b").run(stages())
    assert trainer(tmp_path / "c", seed=1).run(stages()) != trainer(tmp_path / "a").run(stages())


def test_frozen_parameters_stay_and_the_stages_checkpoints_are_kept(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    before = run.model.state_dict()["0.weight"].clone()
    run.run(stages(), stop_after=12)
    torch.testing.assert_close(run.model.state_dict()["0.weight"], before, rtol=0, atol=0)
    trainer(tmp_path).run(stages())
    assert {"first", "second", "latest"} <= {p.name for p in tmp_path.iterdir()}
    assert len(list(tmp_path.glob("latest-*"))) == 1


def test_another_recipe_in_the_folder_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path).run(stages(), stop_after=3)
    with pytest.raises(UsageError, match="holds a run of another recipe or seed"):
        trainer(tmp_path, seed=2).run(stages())


def test_unknown_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="draws task 'poems', known are again, mirror"):
        trainer(tmp_path).run([Stage(name="x", steps=1, shares={"poems": 1})])
