"""Threads that passes share."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from operators.model.threads import SharedThreads


class Counting(nn.Module):
    """Says how many threads torch has where it is called."""

    def forward(self, _: torch.Tensor) -> int:
        return torch.get_num_threads()


def test_a_pass_has_its_share_and_all_once_it_is_alone() -> None:
    shared, model, nothing = SharedThreads(4), Counting(), torch.empty(0)
    begun, ended = threading.Event(), threading.Event()

    def other() -> int:
        with shared:
            begun.set()
            assert ended.wait(30)
            found: int = model(nothing)
        return found

    def one() -> list[int]:
        with shared:
            found = [model(nothing)]
            beside = pool.submit(other)
            assert begun.wait(30)
            found.append(model(nothing))
            ended.set()
            assert beside.result() == 2
            return [*found, model(nothing)]

    with ThreadPoolExecutor(2) as pool:
        assert pool.submit(one).result() == [4, 2, 4]


def test_more_passes_than_threads_have_one_each() -> None:
    shared, model = SharedThreads(2), Counting()

    def within(left: int) -> int:
        with shared:
            found: int = within(left - 1) if left else model(torch.empty(0))
            return found

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(within, 3).result() == 1


def test_what_runs_outside_of_passes_is_left_alone() -> None:
    shared, model = SharedThreads(4), Counting()

    def after() -> int:
        torch.set_num_threads(3)
        with shared:
            pass
        found: int = model(torch.empty(0))
        return found

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(after).result() == 3


def test_a_model_without_torch_is_not_made_to_load_it() -> None:
    code = """if True:
        import sys
        from operators.model.threads import SharedThreads
        with SharedThreads(2):
            sys.exit("torch" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)
