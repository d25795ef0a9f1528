"""A cluster of two nodes runs the job, and loses nothing when one of them is killed (I8)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.corpus import write_corpus
from tests.chaos.test_kills import assets, rows

DRIVER = """
import sys
from dataclasses import replace
from tests.chaos.driver import job
print(replace(job(*sys.argv[1:4]), ray_address=sys.argv[4]).run().model_dump_json())
"""


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[object, object]]:
    monkeypatch.setenv("RAY_worker_niceness", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
    second = cluster.add_node(num_cpus=3)
    cluster.wait_for_nodes()
    yield cluster, second
    cluster.shutdown()


@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_costs_nothing(
    tmp_path: Path, two_nodes: tuple[object, object]
) -> None:
    import subprocess
    import sys

    cluster, second = two_nodes
    source, lake, ledger = tmp_path / "in", tmp_path / "lake", tmp_path / "ledger"
    write_corpus(source, 60)
    command = [sys.executable, "-c", DRIVER, str(source)]
    address = cluster.address
    run = subprocess.Popen(
        [*command, str(lake), str(ledger), address], stderr=subprocess.PIPE, env=os.environ
    )
    while not list(lake.glob("c/runs/*/receipts/*.parquet")) and run.poll() is None:
        time.sleep(0.05)
    assert run.poll() is None, "the run ended before a node could be killed"
    cluster.remove_node(second, allow_graceful=False)
    run.communicate(timeout=300)
    for _ in range(3):
        if run.returncode == 0:
            break
        run = subprocess.Popen(
            [*command, str(lake), str(ledger), address], stderr=subprocess.PIPE, env=os.environ
        )
        run.communicate(timeout=300)
    assert run.returncode == 0
    calm = subprocess.run(
        [*command, str(tmp_path / "calm"), str(tmp_path / "l2"), address], capture_output=True
    )
    assert calm.returncode == 0
    assert rows(lake) == rows(tmp_path / "calm")
    assert assets(lake) == assets(tmp_path / "calm")
