"""Landlock (https://docs.kernel.org/userspace-api/landlock.html): limit the files that this process may open, as any user.

Linux kernels with Landlock only. Numbers and structures are those of include/uapi/linux/landlock.h.
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
"""The number of file access rights in ABI versions 1 to 5; later versions add none."""
_TCP, _SCOPES = 0b11, 0b11


def version() -> int:
    """The kernel's Landlock ABI version; 0 if it has none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)))


def restrict(readable: Iterable[Path]) -> bool:
    """Allow reading beneath these paths only; forbid writing, and binding or connecting TCP ports.

    Irrevocable, for the calling thread and the threads that it starts. Returns False if the kernel does not support it.
    """
    abi = version()
    if not abi:
        return False
    file_rights = (1 << _RIGHTS[min(abi, len(_RIGHTS)) - 1]) - 1
    attributes = struct.pack("=QQQ", file_rights, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _libc().syscall(_CREATE_RULESET, attributes, size, 0)
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
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # a missing path needs no rule
    try:
        rights = _READ_FILE | _EXECUTE | (_READ_DIR if path.is_dir() else 0)
        _libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
