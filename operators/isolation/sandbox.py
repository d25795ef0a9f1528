"""What a child may still touch: Linux' Landlock, which needs no privilege, by its documented system calls.

A decoder that was taken over can read Python's own folders, the system's libraries and the temporary folder, and
write to the last alone. It opens no TCP connection, signals nobody and cannot look into its parent, whose environment
holds the keys to storage.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import tempfile
from contextlib import suppress

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH, _NO_NEW_PRIVS = 1, 1, 38
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _DEVICE_CONTROL = 1 << 14, 1 << 15
_FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
"""The rights over files that each version of Landlock knows; later ones know those of the last."""
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/opt", "/etc", "/dev", "/sys", "/proc/cpuinfo", "/proc/meminfo")


def landlock() -> int:
    """The version of the running kernel's Landlock; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)))


def confine() -> bool:
    """Take from this thread, for good, what decoding does not need; False where the system cannot.

    Source: https://docs.kernel.org/userspace-api/landlock.html
    """
    version = landlock()
    if not version:
        return False
    handled = _FILES[min(version, max(_FILES))]
    attributes = struct.pack("=QQQ", handled, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    libc = _libc()
    ruleset = libc.syscall(_CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return False
    readable = {*sys.path, sys.prefix, sys.base_prefix, *_SYSTEM, *_libraries()}
    rights = dict.fromkeys(readable, _EXECUTE | _READ | _LIST) | {tempfile.gettempdir(): handled}
    rights["/dev/null"] = _READ | _WRITE
    for path, allowed in rights.items():
        _allow(ruleset, path, allowed & handled)
    confined = not libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) and not libc.syscall(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return confined


def _allow(ruleset: int, path: str, rights: int) -> None:
    with suppress(OSError):
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        of_a_file = _EXECUTE | _WRITE | _READ | _TRUNCATE | _DEVICE_CONTROL
        allowed = rights if os.path.isdir(path) else rights & of_a_file
        _libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", allowed, fd), 0)
        os.close(fd)


def _libraries() -> list[str]:
    return [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
