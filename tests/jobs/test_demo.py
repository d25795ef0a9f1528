"""`make demo` in the checks: the tour on a real S3 server, every search finding what a person would expect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def test_the_tour_embeds_every_modality_and_every_search_finds_what_is_expected(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.demo", "--folder", str(tmp_path / "demo")],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    for modality in ("text", "image", "audio", "video", "page", "document"):
        assert f" {modality} " in done.stdout
    assert "nothing to do: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
