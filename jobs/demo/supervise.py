"""Runs one server and never outlives the process that started it.

Started by file name with the standard library only: `supervise.py GRACE_SECONDS LEFTOVER... -- COMMAND...`.
The command gets SIGTERM, and after the grace SIGKILL, when standard input closes (its other end is the
owner's: closed on purpose, or by the owner's death), when the owner is gone, or when this process is told to
end. The files that it leaves over are removed after it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys

POLL_SECONDS = 0.25
SEPARATOR = "--"
PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """On Linux the kernel ends the server even if this process is killed outright."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def supervise(grace_seconds: float, command: list[str]) -> int:
    """Run the command until it ends or nobody needs it.

    Returns:
        The command's exit status; negative for a signal.
    """
    owner = os.getppid()
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: told.append(received))
    # No thread exists here, so code between fork and exec is safe.
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)  # noqa: S603
    while server.poll() is None and not told and os.getppid() == owner:
        if select.select([0], [], [], POLL_SECONDS)[0]:
            break
    if server.poll() is None:
        server.terminate()
    try:
        return server.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


def main(arguments: list[str]) -> int:
    """Supervise as the arguments say, then remove the leftovers; returns the exit status, or the signal."""
    grace, *rest = arguments
    split = rest.index(SEPARATOR)
    try:
        return abs(supervise(float(grace), rest[split + 1 :]))
    finally:
        for leftover in rest[:split]:
            with contextlib.suppress(OSError):
                os.unlink(leftover)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
