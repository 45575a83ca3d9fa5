"""Landlock (https://docs.kernel.org/userspace-api/landlock.html): which files this process may still reach, whoever it runs as.

Linux only, and there where the kernel has it; numbers and structures are the kernel's (include/uapi/linux/landlock.h).
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_RIGHTS = (13, 14, 15, 15, 16)
"""How many rights over files versions 1 to 5 know; later ones no more."""
_TCP, _SCOPES = 0b11, 0b11


def version() -> int:
    """Of the kernel's Landlock; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)))


def restrict(readable: Iterable[Path]) -> bool:
    """From now on only what is beneath these may be read, nothing written, no TCP port bound or connected to.

    For the rest of this process's life, in the calling thread and in those it starts. False where the kernel cannot.
    """
    found = version()
    if not found:
        return False
    every = (1 << _RIGHTS[min(found, len(_RIGHTS)) - 1]) - 1
    wanted = struct.pack("=QQQ", every, _TCP if found >= 4 else 0, _SCOPES if found >= 6 else 0)
    size = 24 if found >= 6 else 16 if found >= 4 else 8
    ruleset = _libc().syscall(_CREATE_RULESET, wanted, size, 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow(ruleset, path)
        refused = _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or _libc().syscall(_RESTRICT_SELF, ruleset, 0)
        return not refused
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there need not be allowed
    try:
        rights = _READ_FILE | _EXECUTE | (_READ_DIR if path.is_dir() else 0)
        _libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
