"""What a worker process may not do: use more memory, processor time or file space than it was given, read what is not Python's, reach the
network, start programs.

Resource limits bound it; Landlock (`parsers.workers.landlock`) leaves it no file but those it runs on, root or not; a seccomp filter
(Linux on
x86-64 and arm64) lets the kernel refuse sockets and programs to native code too; an audit hook refuses them to Python code everywhere. The
process cannot lift any of these again but the processor-time limit, which it sets anew for each document.
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
# code and mapped files count as address space, not as data; the limit on data is the real one
_CODE_MIB = 2048
# torch with CUDA's libraries, though no worker has a GPU, and the models' weights
_MODELS_MIB = 24_576
_CPU_SLACK_S = 2

_OPEN_FILES = 128
_NOBODY = 65534
_HOME = Path(__file__).resolve().parents[2]
_PROGRAMS = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/ssl/openssl.cnf")
_MACHINE = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system", "/sys/fs/cgroup", "/dev/null", "/dev/urandom")
_SYSTEM = (*_PROGRAMS, *_MACHINE)

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_RET_ALLOW, _RET_ERRNO = 0x7FFF0000, 0x00050000
_BPF_LOAD, _BPF_JUMP_EQUAL, _BPF_JUMP_AT_LEAST, _BPF_RETURN = 0x20, 0x15, 0x35, 0x06
_SYSCALL_AT, _ARCHITECTURE_AT = 0, 4
# socket, socketpair, execve, execveat, ptrace, process_vm_readv, process_vm_writev, io_uring_setup
_REFUSED: dict[str, tuple[int, tuple[int, ...]]] = {
    "x86_64": (0xC000003E, (41, 53, 59, 322, 101, 310, 311, 425)),
    "aarch64": (0xC00000B7, (198, 199, 221, 281, 117, 270, 271, 425)),
}
# the x32 calls of x86-64 would be a way around its numbers
_X32_FROM = 0x40000000

_REFUSED_EVENTS = frozenset({"socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system"})
_REFUSED_PREFIXES = ("os.exec", "os.posix_spawn", "os.fork", "urllib.Request")


def confine(memory_mb: int, models: Path | None = None) -> None:
    """Give up, for the rest of this process's life, what reading a document does not need. `models` is all the data that it may read.

    Raises RuntimeError where other threads run: they would keep what this one gives up.
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
    """What reading needs of the disk: Python, libraries, our code, and what tells of the machine. No data, no password, no home."""
    installed = {Path(entry) for entry in (sys.prefix, sys.base_prefix, *sys.path) if entry}
    own = {_HOME / package for package in ("parsers", "core")}
    return sorted((installed - {_HOME}) | own | {Path(entry) for entry in (*_SYSTEM, f"/proc/{os.getpid()}")})


def _leave_root() -> None:
    """Whoever started us as root: go on as nobody, where nobody can read what is installed."""
    if os.geteuid() == 0 and all(_open_to_all(path) for path in (Path(sys.prefix), Path(sys.base_prefix), _HOME / "parsers")):
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)


def _open_to_all(path: Path) -> bool:
    return all(place.stat().st_mode & stat.S_IXOTH for place in (path, *path.parents))


def allow_processor_time(seconds: float) -> None:
    """Let this process use `seconds` more of processor time (two threads' worth), after which the kernel ends it with SIGXCPU."""
    soft = math.ceil(time.process_time() + 2 * seconds) + _CPU_SLACK_S
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def die_with_parent(pipe: int) -> None:
    """End this process, in the midst of a document too, as soon as the other end of `pipe` is closed."""
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
    """A kernel without seccomp keeps the other limits; the audit hook still refuses what Python code asks for."""
    if sys.platform != "linux" or platform.machine() not in _REFUSED:
        return
    code = _program(*_REFUSED[platform.machine()])
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(code) // 8, code)), 0, 0)


def _program(architecture: int, numbers: tuple[int, ...]) -> bytes:
    """A classic BPF program (linux/filter.h, linux/seccomp.h): the listed calls give EACCES, all others pass."""
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
