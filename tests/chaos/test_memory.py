"""Ten times the data takes no more memory (I7)."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.benchmarks.meter import EVERY_S, Tree
from tests.chaos.killer import REPO, end

PICTURES = 250
TIMES = 10
SLACK = 1.15
DRIVER = """
import sys
from dataclasses import dataclass
from pipelines.embed import EmbedJob
from schemas.card import ImageInput
from schemas.config import RunConfig
from tests.models.hashed import HashSpec

@dataclass(frozen=True)
class Large(HashSpec):
    @property
    def card(self):
        return super(Large, self).card.model_copy(update={"image": ImageInput(side=384)})

config = RunConfig(actors=1, block_bytes=4 << 20, shard_assets=32)
report = EmbedJob(sources=(sys.argv[1],), lake=sys.argv[2], spec=Large(), corpus="c", config=config).run()
print(report.counts.embedded)
"""


def write_pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(count):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (480, 640, 3), np.uint8)).save(out, "JPEG", quality=60)
        (folder / f"{n:05d}.jpg").write_bytes(out.getvalue())


def peak_mb(source: Path, lake: Path, expected: int) -> float:
    """The largest sum of all processes' proportional memory, the object store's pages included."""
    command = [sys.executable, "-c", DRIVER, str(source), str(lake)]
    process = subprocess.Popen(
        command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    tree = Tree(psutil.Process(process.pid))
    while process.poll() is None:
        tree.sample()
        time.sleep(EVERY_S)
    out, _ = process.communicate()
    end(list(tree.processes.values()))
    assert out.strip() == str(expected)
    return tree.peak_bytes / 1e6


@pytest.mark.slow
def test_ten_times_the_data_peaks_within_15_percent(tmp_path: Path) -> None:
    write_pictures(tmp_path / "one", PICTURES)
    write_pictures(tmp_path / "ten", PICTURES * TIMES)
    one = peak_mb(tmp_path / "one", tmp_path / "lake1", PICTURES)
    ten = peak_mb(tmp_path / "ten", tmp_path / "lake10", PICTURES * TIMES)
    print(
        f"peak of {PICTURES} pictures {one:.0f} MB, of {PICTURES * TIMES} {ten:.0f} MB: {ten / one:.3f} times"
    )
    assert ten <= one * SLACK
