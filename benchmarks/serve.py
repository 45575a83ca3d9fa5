"""Search over HTTP by 8 readers at once, beside the same search in process, and beside its statements alone.

One tenant (`_corpus`), questions of scifact and titles, mode hybrid, a reader of everything. Over HTTP, the server is a process of its own
(`headrace serve`) and the readers are threads here, each with one connection; in process, the readers call what the server calls, with the
models in this process. Alone: the statements of a search, with vectors that were computed before. Rounds alternate, and each figure is the
median of the rounds'. With readers enough to keep every core busy, a time is mostly waiting for the others.

Keys:
  chunks                       passages of the tenant
  http, pipeline, sql          each: p50_ms, p95_ms (of one search, as its reader waits), qps (searches a second of all readers)
  p95_ratio                    http's p95 by the pipeline's (goal: at most 1.3)
  command_s                    `headrace search` while the server runs, as a process of its own (goal: at most .3)
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from threading import local
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks import _corpus, _world
from benchmarks._harness import note, run, seconds
from benchmarks.search_latency import Asked
from core.tenancy import Database
from pipelines.app import Headrace
from pipelines.governance import api_keys, tenants
from pipelines.operations.search import answer
from retrieval.search import SearchRequest, search

TENANT = "served"
READERS = 8
SEARCHES, ROUNDS = 400, 3
TOP = 10
_CLI = [sys.executable, "-c", "from pipelines.cli import main; main()"]

Ask = Callable[[str], object]


def measure(data: Path, chunks: int) -> Mapping[str, Any]:
    with _world.headrace() as headrace:
        tenants.add(headrace, TENANT)
        real = _corpus.source(headrace, data)
        _corpus.fill(headrace, TENANT, real, chunks)
        encoder = Asked(headrace.models.embedder.identity, real.questions, real.asked)
        with (
            _server(headrace) as (url, environment),
            closing(Database(headrace.endpoints.postgres_reader.get_secret_value(), "reader", READERS + 1)) as database,
        ):
            ways = {"http": _over_http(headrace, url), "pipeline": _in_process(headrace), "sql": _statements(database, encoder)}
            measured = _rounds(ways, real.questions)
            command_s = _command_s(environment, real.questions)
    return {"chunks": chunks, **measured, "p95_ratio": measured["http"]["p95_ms"] / measured["pipeline"]["p95_ms"], "command_s": command_s}


@contextmanager
def _server(headrace: Headrace) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of `headrace serve` on these servers, and the environment that a command needs to find the same installation."""
    folder = headrace.settings.data_dir
    configuration = folder / "serve.toml"
    configuration.write_text(f'data_dir = "{folder}"\n', encoding="utf-8")
    environment = {**os.environ, "HEADRACE_CONFIG": str(configuration)}
    command = [*_CLI, "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        yield json.loads(process.stdout.readline())["address"], environment
        process.terminate()


def _over_http(headrace: Headrace, url: str) -> Ask:
    address, own = urlsplit(url), local()
    headers = {"authorization": f"Bearer {api_keys.add(headrace, TENANT, [_corpus.EVERY], rate=100_000)[1]}"}

    def ask(question: str) -> object:
        if not hasattr(own, "connection"):
            own.connection = HTTPConnection(address.hostname or "", address.port)
        own.connection.request("POST", "/v1/search", json.dumps({"query": question, "top": TOP}), headers)
        response = own.connection.getresponse()
        if response.status != 200:
            raise RuntimeError(response.read().decode())
        return json.loads(response.read())

    return ask


def _in_process(headrace: Headrace) -> Ask:
    return lambda question: answer(headrace, TENANT, SearchRequest(question, (_corpus.EVERY,), top=TOP))


def _statements(database: Database, encoder: Asked) -> Ask:
    return lambda question: search(database, encoder, TENANT, SearchRequest(question, (_corpus.EVERY,), top=TOP))


def _rounds(ways: Mapping[str, Ask], questions: Sequence[str]) -> dict[str, dict[str, float]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, ask in ways.items():
            one = _round(ask, questions)
            note(f"{name} {turn}/{ROUNDS}: p50 {one['p50_ms']:.1f}, p95 {one['p95_ms']:.1f} ms, {one['qps']:.0f} a second")
            if turn:  # the first warms
                found[name].append(one)
    return {name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]} for name, rounds in found.items()}


def _round(ask: Ask, questions: Sequence[str]) -> dict[str, float]:
    asked = [questions[number % len(questions)] for number in range(SEARCHES)]
    with ThreadPoolExecutor(READERS) as pool:
        started = perf_counter()
        times = list(pool.map(lambda question: 1000 * seconds(partial(ask, question)), asked))
        took_s = perf_counter() - started
    return {"p50_ms": float(np.percentile(times, 50)), "p95_ms": float(np.percentile(times, 95)), "qps": SEARCHES / took_s}


def _command_s(environment: Mapping[str, str], questions: Sequence[str]) -> float:
    def command(question: str) -> None:
        arguments = [*_CLI, "search", "--tenant", TENANT, "--as", _corpus.EVERY, "--json", question]
        subprocess.run(arguments, env=dict(environment), check=True, stdout=subprocess.DEVNULL)

    return statistics.median(seconds(partial(command, question)) for question in questions[:7])


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--chunks", type=int, default=100_000, help="passages of the tenant (%(default)s)")


if __name__ == "__main__":
    run(measure, __doc__, _options)
