"""The client is a distribution of its own: small, without the stack, and made of what a wheel has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from tests.test_layers import ROOT

SOURCE = ROOT / "clients" / "python"
MOST_BYTES = 1_000_000
STACK = "headrace pipelines core events retrieval torch dagster psycopg polars confluent_kafka langchain_core llama_index haystack"


def test_the_wheel_is_small_and_is_all_that_a_search_needs(tmp_path: Path) -> None:
    [wheel] = [Path(path) for path in WheelBuilder(str(SOURCE)).build(directory=str(tmp_path), versions=["standard"])]
    assert wheel.stat().st_size < MOST_BYTES
    code = f"""
import sys
sys.path.insert(0, {str(wheel)!r})
import headrace_client
assert headrace_client.__file__.startswith({str(wheel)!r}), headrace_client.__file__
print(sorted(set({STACK.split()!r}) & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")
