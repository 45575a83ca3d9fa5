"""Confinement of a worker process, tested on a real process: it cannot read beyond Python's files, write, connect or start programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parsers.workers import landlock

ROOT = Path(__file__).parents[2]
CONFINED = "from parsers.workers import confinement\nconfinement.confine(1024)\n"


def outcome(program: str, *arguments: object) -> str:
    """The output of a confined process, or the name of the exception that it raises."""
    guarded = f"{CONFINED}try:\n    {program}\nexcept BaseException as error:\n    print(type(error).__name__)"
    command = [sys.executable, "-P", "-c", f"import sys, os, socket, subprocess, threading\n{guarded}", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", env={"PYTHONPATH": str(ROOT)}, check=False)
    return ended.stdout.strip() or f"ended with {ended.returncode}: {ended.stderr[-300:]}"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("hunter2", encoding="utf-8")
    return file


needs_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")


@needs_landlock
@pytest.mark.parametrize("mode", ["r", "rb", "a"])
def test_no_file_outside_python_can_be_read_by_any_user(secret: Path, mode: str) -> None:
    assert outcome("print(open(sys.argv[1], sys.argv[2]).read())", secret, mode) == "PermissionError"
    assert outcome("print(len(os.listdir(sys.argv[1])))", secret.parent) == "PermissionError"


@needs_landlock
def test_neither_system_files_nor_other_processes_can_be_read() -> None:
    for path in ("/etc/passwd", "/etc/hostname", f"/proc/{os.getpid()}/environ"):
        assert outcome("print(open(sys.argv[1], 'rb').read())", path) == "PermissionError"


@needs_landlock
def test_a_thread_cannot_read_them_either(secret: Path) -> None:
    program = "threading.Thread(target=lambda: print(os.access(sys.argv[1], os.R_OK) and open(sys.argv[1]).read())).start()"
    assert "hunter2" not in outcome(program, secret)


@pytest.mark.slow
def test_everything_needed_to_read_documents_is_available() -> None:
    assert outcome("import json.tool, parsers.pdf.reader, parsers.docling.web, core.records; print('read')") == "read"


def test_no_file_can_be_written(tmp_path: Path) -> None:
    assert outcome("open(sys.argv[1], 'w').write('x')", tmp_path / "new") in {"PermissionError", "OSError"}
    assert not (tmp_path / "new").exists() or (tmp_path / "new").read_bytes() == b""


@pytest.mark.parametrize(
    "program",
    ["socket.create_connection(('127.0.0.1', 9))", "socket.socket().bind(('127.0.0.1', 0))", "subprocess.run(['/bin/true'])", "os.fork()"],
)
def test_no_socket_can_be_opened_and_no_program_started(program: str) -> None:
    assert outcome(program) == "PermissionError"


def test_the_number_of_open_files_is_limited() -> None:
    assert outcome("print(len([os.dup(1) for _ in range(1000)]))") == "OSError"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_root_becomes_nobody_if_nobody_can_read_the_installation() -> None:
    setup = "import os\nfrom parsers.workers import confinement\nconfinement._open_to_all = lambda path: True\n"
    command = [sys.executable, "-P", "-c", f"{setup}confinement._leave_root()\nprint(os.getuid())"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(ROOT)}, check=True)
    assert ended.stdout.strip() == "65534"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_confining_a_process_with_other_threads_raises() -> None:
    program = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n" + CONFINED
    command = [sys.executable, "-P", "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", env={"PYTHONPATH": str(ROOT)}, check=False)
    assert (ended.returncode, "before it starts threads" in ended.stderr) == (1, True)
