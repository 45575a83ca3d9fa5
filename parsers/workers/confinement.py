"""Confinement of a worker process: no network, no programs, no files beyond Python's own, bounded memory, processor time and file size.

- Resource limits bound memory, processor time, open files and file size.
- Landlock (`parsers.workers.landlock`) limits which files can be opened, as root too.
- A seccomp filter (Linux on x86-64 and arm64) refuses sockets and programs to native code.
- An audit hook refuses them to Python code on every platform.

The process cannot undo any of these, except the soft processor-time limit, which it resets for each document.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import platform
import resource
import select
import stat
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

from parsers.workers import landlock

_MIB = 1024 * 1024
# code and mapped files count as address space, not as data; the limit on data is the effective one
_CODE_MIB = 2048
# torch with CUDA's libraries, which are mapped although no worker uses a GPU, and the models' weights
_MODELS_MIB = 24_576
_CPU_SLACK_S = 2

_OPEN_FILES = 128
_NOBODY = 65534
_ROOT = Path(__file__).resolve().parents[2]
_LIBRARIES = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/ssl/openssl.cnf")
_MACHINE = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system", "/sys/fs/cgroup", "/dev/null", "/dev/urandom")
_SYSTEM = (*_LIBRARIES, *_MACHINE)

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_RET_ALLOW, _RET_ERRNO = 0x7FFF0000, 0x00050000
_BPF_LOAD, _BPF_JUMP_EQUAL, _BPF_JUMP_AT_LEAST, _BPF_RETURN = 0x20, 0x15, 0x35, 0x06
_SYSCALL_AT, _ARCHITECTURE_AT = 0, 4
# socket, socketpair, execve, execveat, ptrace, process_vm_readv, process_vm_writev, io_uring_setup
_REFUSED: dict[str, tuple[int, tuple[int, ...]]] = {
    "x86_64": (0xC000003E, (41, 53, 59, 322, 101, 310, 311, 425)),
    "aarch64": (0xC00000B7, (198, 199, 221, 281, 117, 270, 271, 425)),
}
# x32 system calls of x86-64 have other numbers, and would bypass the filter
_X32_FROM = 0x40000000

_REFUSED_EVENTS = frozenset({"socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system"})
_REFUSED_PREFIXES = ("os.exec", "os.posix_spawn", "os.fork", "urllib.Request")


def confine(memory_mb: int, models: Path | None = None) -> None:
    """Irrevocably drop every privilege that parsing does not need. `models` is the only data folder that stays readable.

    Raises RuntimeError if other threads are running: they would keep their privileges.
    """
    if sum(1 for _ in Path("/proc/self/task").glob("*")) > 1:
        raise RuntimeError("a process confines itself before it starts threads")
    _limit("RLIMIT_CORE", 0)
    # even a temporary file would be clear text at rest
    _limit("RLIMIT_FSIZE", 0)
    _limit("RLIMIT_NOFILE", _OPEN_FILES)
    _limit("RLIMIT_DATA", memory_mb * _MIB)
    _limit("RLIMIT_AS", (memory_mb + (_MODELS_MIB if models else _CODE_MIB)) * _MIB)
    sys.addaudithook(_refuse)
    landlock.restrict([*readable(), *([models] if models else [])])
    _leave_root()
    _filter_system_calls()


def readable() -> list[Path]:
    """The paths that parsing reads: Python, libraries, this code, and the machine's description. No data, password or home folder."""
    installed = {Path(entry) for entry in (sys.prefix, sys.base_prefix, *sys.path) if entry}
    own = {_ROOT / package for package in ("parsers", "core")}
    return sorted((installed - {_ROOT}) | own | {Path(entry) for entry in (*_SYSTEM, f"/proc/{os.getpid()}")})


def _leave_root() -> None:
    """If running as root, become `nobody`, provided that `nobody` can read the installation."""
    if os.geteuid() == 0 and all(_open_to_all(path) for path in (Path(sys.prefix), Path(sys.base_prefix), _ROOT / "parsers")):
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)


def _open_to_all(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def allow_processor_time(seconds: float) -> None:
    """Allow `seconds` more of processor time (for two threads); past it the kernel kills the process with SIGXCPU."""
    soft = math.ceil(time.process_time() + 2 * seconds) + _CPU_SLACK_S
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def die_with_parent(pipe: int) -> None:
    """Exit as soon as the other end of `pipe` is closed, even while parsing."""
    threading.Thread(target=_await_hang_up, args=(pipe,), daemon=True).start()


def _await_hang_up(pipe: int) -> None:
    poll = select.poll()
    poll.register(pipe, 0)
    poll.poll()
    os._exit(0)


def _limit(name: str, value: int) -> None:
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if event in _REFUSED_EVENTS or event.startswith(_REFUSED_PREFIXES):
        raise PermissionError(errno.EACCES, "refused in a parser's worker process")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter_system_calls() -> None:
    """Install the seccomp filter. A kernel without seccomp keeps the other limits, and the audit hook still refuses Python code."""
    if sys.platform != "linux" or platform.machine() not in _REFUSED:
        return
    code = _program(*_REFUSED[platform.machine()])
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(code) // 8, code)), 0, 0)


def _program(architecture: int, numbers: tuple[int, ...]) -> bytes:
    """A classic BPF program (linux/filter.h, linux/seccomp.h): the listed calls fail with EACCES, all others pass."""
    refusals = len(numbers) + 1
    steps = [
        (_BPF_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_BPF_JUMP_EQUAL, 0, refusals + 2, architecture),
        (_BPF_LOAD, 0, 0, _SYSCALL_AT),
        (_BPF_JUMP_AT_LEAST, refusals, 0, _X32_FROM),
        *((_BPF_JUMP_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)),
        (_BPF_RETURN, 0, 0, _RET_ALLOW),
        (_BPF_RETURN, 0, 0, _RET_ERRNO | errno.EACCES),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
