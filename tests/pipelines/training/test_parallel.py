"""Two processes that share a batch take the step that one process takes with all of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file
from torch import nn

from pipelines.training.parallel import Peers
from pipelines.training.trainer import Pairs, Stage, Trainer

DIM = 8
STAGE = Stage(
    name="only", steps=3, batch=7, chunk=2, rate=1e-2, warmup=1, shares={"mirror": 1.0}, distill=0.5
)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(DIM, 16), nn.Tanh(), nn.Linear(16, DIM))


def mirrored(size: int, rng: random.Random) -> Pairs[torch.Tensor]:
    points = torch.randn(size, DIM, generator=torch.Generator().manual_seed(rng.getrandbits(32)))
    ids = list(range(size))
    return Pairs(
        queries=list(points), positives=list(points.flip(1)), query_ids=ids, positive_ids=ids, teacher=points
    )


def train(folder: Path) -> list[float]:
    network = model()
    tasks = {"mirror": mirrored}
    return Trainer(network, lambda c: network(torch.stack(list(c))), tasks, (8, 4), folder).run([STAGE])


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    train(Path(folder) / "two")
    dist.destroy_process_group()


def test_two_processes_learn_what_one_learns_from_the_whole_batch(tmp_path: Path) -> None:
    losses = train(tmp_path / "one")
    mp.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    alone, shared = (load_file(tmp_path / run / "latest/model.safetensors") for run in ("one", "two"))
    for name, tensor in alone.items():
        torch.testing.assert_close(shared[name], tensor, rtol=1e-4, atol=1e-6)
    assert len(losses) == STAGE.steps
    assert not torch.equal(alone["0.weight"], model().state_dict()["0.weight"])


@pytest.mark.parametrize(("total", "size"), [(7, 2), (8, 3), (3, 3)])
def test_shares_cover_a_batch_once(total: int, size: int) -> None:
    items = list(range(total))
    shares = [list(Peers(rank, size).share(items)) for rank in range(size)]
    assert [item for share in shares for item in share] == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
