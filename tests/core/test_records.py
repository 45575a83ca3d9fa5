"""What stages pass each other, under threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_AT_ONCE = """
import sys, threading
from core.records import Block, Content, Link, Signals, convert, decode, encode
sys.setswitchinterval(1e-6)
block = Block("paragraph", "x", links=(Link("a", "b"),))
payload = encode(Content((block,), properties={"a": "b"}, signals=Signals(characters=3, grades={"a": 1})))
together, read = threading.Barrier(8), []
def first():
    together.wait()
    given = {"kind": "paragraph", "text": "x", "links": [{"text": "a", "target": "b"}]}
    read.append(decode(payload, Content).blocks[0] == convert(given, Block) == block)
threads = [threading.Thread(target=first) for _ in range(8)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
print(sum(read))
"""


def test_threads_that_read_the_first_record_of_a_kind_at_once_all_read_it(here: Path) -> None:
    for _ in range(3):
        ended = subprocess.run([sys.executable, "-c", _AT_ONCE], cwd=here, capture_output=True, text=True, check=False, timeout=60)
        assert (ended.returncode, ended.stdout) == (0, "8\n")
