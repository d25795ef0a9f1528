"""What was installed runs from any folder, whatever else is installed beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("embedlake")


@pytest.mark.skipif(not PROGRAM.exists(), reason="run from a checkout that is not installed")
@pytest.mark.parametrize("command", [[str(PROGRAM)], [sys.executable, "-m", "jobs"]])
def test_the_program_runs_outside_the_checkout(command: list[str], tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*command, "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("embedlake ")
