"""Embedding speed, compared with plain sentence-transformers and with the forward pass alone, and agreement of the vectors.

The model is all-MiniLM-L6-v2. The texts are an even sample, without duplicates, of scifact's abstracts (title and text, split at sentence
ends if too long) and the Python PEPs (paragraphs packed into up to 200 tokens): 600 timed of 2,000 on a CPU, 24,000 of 26,000 on CUDA.
Each of three rounds times the reference, our engine, its forward pass alone and the peak in turn, so that noise affects all alike. A speed
is the median of the rounds, and a ratio the median of the rounds' ratios. Goals are in parentheses.

Keys:
  backend, device, precision  the selection: torch or openvino; cpu, cuda:0 or mps; f32, bf16 or f16
  why                        the engine's explanation of its selection
  card                       the CUDA device's name, null without one
  threads                    cores that this process may use
  cpu_features               the processor's instructions for matrix products, by the kernel's names
  chunks, tokens             embedded in a round; tokens as the model reads them, with special tokens, without padding
  chunks_per_s, tokens_per_s  ours, from texts to vectors, model warm
  reference_chunks_per_s     plain `SentenceTransformer.encode` of the same texts on the same device, its defaults, fp32
  speedup                    ours / reference (CPU with AMX or AVX512-BF16: at least 4; CPU with AVX2 alone: 1.3; CUDA: 10)
  forward_only_chunks_per_s  the same batches, already tokenized and on the device
  efficiency                 ours / forward only (CPU: at least .9; CUDA: .7)
  peak_gflops                10⁹ floating-point operations a second of torch's fastest large matrix product, same precision and threads
  roofline_share             operations that the texts need without padding (`_roofline.forward_flops`) / our seconds / peak
                             (CPU with AVX2 alone: at least .8)
  padding_share              share of padding in the tokens computed
  overlap_at_10              share of the ten chunks nearest to a question among all 2,000 (CUDA: 26,000), by exact search, that are also
                             nearest by the fp32 reference's vectors: mean of 1,000 questions, scifact's queries and titles of
                             abstracts that are not among the chunks (at least .99)
  min_cosine                 minimum over all chunks of the cosine between a chunk's vector and its reference
  latency_p50_ms, latency_p99_ms  milliseconds from one text of 190 tokens to its vector, engine warm, of 180 one after the other
  latency_forward_p50_ms     the same for its forward pass alone, measured in turn
  latency_ratio              latency_p50_ms / latency_forward_p50_ms (CPU: at most 1.3)
  start_seconds              from the import of `embedders` in a fresh process to the first vector, caches warm, median of three
                             (openvino: at most 4)
  start_imports_torch        whether that process imported torch (openvino: false, where it can be)
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _texts
from benchmarks._harness import Unmeasured, note, run, seconds
from benchmarks._roofline import forward_flops, peak_flops, torch_threads
from embedders import Embedded, Embedder, EmbedderOptions, Refusal, Selection, Vectors, hardware, load, models

ROUNDS = 3
CHUNKS = {"cpu": (600, 2_000), "cuda": (24_000, 26_000)}
"""(timed, total) by device. The others are embedded first, to warm up both sides."""

LATENCY_TOKENS = 190
LATENCIES = 200
STARTS = 3
NEAREST = 10

_START = """
import json, sys
from time import perf_counter
began = perf_counter()
import embedders
options = dict(zip(("device", "backend", "precision"), sys.argv[1:]))
embedder = embedders.load(embedders.EmbedderOptions(**options))
embedder.encode(["From nothing to a first vector."], "query")
print(json.dumps({"seconds": perf_counter() - began, "torch": "torch" in sys.modules}))
embedder.close()
"""


@dataclass(frozen=True)
class Round:
    """Seconds of one round over the timed texts, and the peak in operations per second."""

    reference: float
    ours: float
    forward: float
    peak: float


def measure(data: Path, device: str, backend: str, precision: str) -> dict[str, Any]:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise Unmeasured("torch sees no CUDA device here; --device cpu measures the processor")
    try:
        options = EmbedderOptions(device=device, backend=backend, precision=precision)  # type: ignore[arg-type]
        with closing(load(options)) as embedder:
            return _measured(data, embedder) | _start(options)
    except Refusal as refusal:
        raise Unmeasured(str(refusal)) from refusal


def _measured(data: Path, embedder: Embedder) -> dict[str, Any]:
    plain, selection = _plain(embedder), embedder.selection
    note(f"{selection.backend} in {selection.precision} on {selection.device}: {selection.why}")
    if selection.device == "cpu":
        note("this measures the CPU, not a GPU")
    timed, in_all = CHUNKS["cuda" if selection.device.startswith("cuda") else "cpu"]
    texts = _texts.real(data, embedder.count_tokens, embedder.max_tokens, timed=timed, in_all=in_all)
    note(f"{in_all} texts; embedding the {in_all - timed} untimed ones on both sides")
    ours, reference = _embedded(embedder, texts.before).vectors, plain(texts.before)
    rounds, ours_timed, reference_timed = _rounds(embedder, plain, texts.timed)
    chunks = np.concatenate([ours, ours_timed.vectors]), np.concatenate([reference, reference_timed])
    questions = embedder.encode(texts.questions, "query"), plain(texts.questions)
    return _named(selection) | _speeds(rounds, ours_timed) | _agreement(chunks, questions) | _latency(embedder, texts.timed)


def _named(selection: Selection) -> dict[str, Any]:
    import torch

    return {
        "backend": selection.backend,
        "device": selection.device,
        "precision": selection.precision,
        "why": selection.why,
        "card": torch.cuda.get_device_name(selection.device) if selection.device.startswith("cuda") else None,
        "threads": hardware.threads(),
        "cpu_features": hardware.cpu_features(),
    }


def _plain(embedder: Embedder) -> Callable[[Sequence[str]], Vectors]:
    """The reference, with torch's default number of threads, whatever our engine sets afterwards."""
    import torch
    from sentence_transformers import SentenceTransformer

    own_threads = torch.get_num_threads()
    model = SentenceTransformer(str(_folder()), device=embedder.selection.device)

    def encode(texts: Sequence[str]) -> Vectors:
        with torch_threads(own_threads):
            return np.asarray(model.encode(list(texts)))

    return encode


def _folder() -> Path:
    return models.find(EmbedderOptions().model).folder


def _embedded(embedder: Embedder, texts: Sequence[str]) -> Embedded:
    """Embed all texts. Raises Unmeasured if one is refused, because the reference would have embedded it."""
    embedded = embedder.embed(texts, "passage")
    if embedded.errors:
        raise Unmeasured(f"{len(embedded.errors)} texts were refused, the first with {next(iter(embedded.errors.values()))}")
    return embedded


# ── rounds ───────────────────────────────────────────────────────────────────────────────────────────────────


def _rounds(embedder: Embedder, plain: Callable[[Sequence[str]], Vectors], texts: Sequence[str]) -> tuple[list[Round], Embedded, Vectors]:
    """Return the rounds, and the last one's results on both sides."""
    selection, rounds = embedder.selection, []
    for number in range(1, ROUNDS + 1):
        reference_took, reference = _timed(lambda: plain(texts))
        ours_took, ours = _timed(lambda: _embedded(embedder, texts))
        forward_took = _forward_seconds(embedder, texts)
        rounds.append(Round(reference_took, ours_took, forward_took, peak_flops(selection.precision, selection.device, hardware.threads())))
        note(f"round {number}/{ROUNDS}: reference {reference_took:.2f} s, ours {ours_took:.2f} s, forward alone {forward_took:.2f} s")
    return rounds, ours, reference


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    results: list[Any] = []
    return seconds(lambda: results.append(work())), results[0]


def _forward_seconds(embedder: Embedder, texts: Sequence[str]) -> float:
    """Seconds of the model alone for the batches of these texts, which are moved to the device before the clock starts."""
    backend = embedder.backend
    prepared = [backend.prepare(batch) for batch in embedder.planned(texts, "passage")]
    if backend.lanes == 1 or len(prepared) == 1:
        return seconds(lambda: [backend.forward(batch) for batch in prepared])
    with ThreadPoolExecutor(backend.lanes) as lanes:
        return seconds(lambda: list(lanes.map(backend.forward, prepared)))


def _speeds(rounds: Sequence[Round], embedded: Embedded) -> dict[str, Any]:
    chunks, tokens = len(embedded.counts), sum(embedded.counts)
    flops = forward_flops(_folder(), embedded.counts)
    return {
        "chunks": chunks,
        "tokens": tokens,
        "chunks_per_s": _median(chunks / each.ours for each in rounds),
        "tokens_per_s": _median(tokens / each.ours for each in rounds),
        "reference_chunks_per_s": _median(chunks / each.reference for each in rounds),
        "speedup": _median(each.reference / each.ours for each in rounds),
        "forward_only_chunks_per_s": _median(chunks / each.forward for each in rounds),
        "efficiency": _median(each.forward / each.ours for each in rounds),
        "peak_gflops": _median(each.peak for each in rounds) / 1e9,
        "roofline_share": _median(flops / each.ours / each.peak for each in rounds),
        "padding_share": 1 - embedded.tokens / embedded.padded_tokens,
    }


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


# ── latency and start ────────────────────────────────────────────────────────────────────────────────────────


def _latency(embedder: Embedder, texts: Sequence[str]) -> dict[str, float]:
    counts = embedder.count_tokens(list(texts))
    at = min(range(len(texts)), key=lambda at: abs(counts[at] - LATENCY_TOKENS))
    note(f"latency of one text of {counts[at]} tokens")
    text = [texts[at]]
    both = [(seconds(lambda: embedder.encode(text, "passage")), _forward_seconds(embedder, text)) for _ in range(LATENCIES)]
    whole, forward = np.array(both[LATENCIES // 10 :]).T * 1000
    p50, p99, forward_p50 = (float(value) for value in (*np.percentile(whole, [50, 99]), np.median(forward)))
    return {"latency_p50_ms": p50, "latency_p99_ms": p99, "latency_forward_p50_ms": forward_p50, "latency_ratio": p50 / forward_p50}


def _start(options: EmbedderOptions) -> dict[str, Any]:
    note(f"starting {STARTS} times")
    starts = [_started(options) for _ in range(STARTS)]
    return {
        "start_seconds": _median(start["seconds"] for start in starts),
        "start_imports_torch": any(start["torch"] for start in starts),
    }


def _started(options: EmbedderOptions) -> Mapping[str, Any]:
    """Start a fresh process, whose cache this process has filled, and return its measurements."""
    command = [sys.executable, "-c", _START, options.device, options.backend, options.precision]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    except subprocess.SubprocessError as error:
        raise Unmeasured(f"a fresh process gave no vector ({type(error).__name__})") from error
    start: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return start


# ── agreement ────────────────────────────────────────────────────────────────────────────────────────────────


def _agreement(chunks: tuple[Vectors, Vectors], questions: tuple[Vectors, Vectors]) -> dict[str, float]:
    """`overlap_at_10` and `min_cosine`, from the vectors of chunks and questions as (ours, the reference's)."""
    ours, reference = chunks
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(reference, axis=1)
    found = zip(*map(_nearest, questions, chunks), strict=True)
    return {
        "overlap_at_10": statistics.fmean(len(set(mine) & set(theirs)) / NEAREST for mine, theirs in found),
        "min_cosine": float(((ours * reference).sum(axis=1) / lengths).min()),
    }


def _nearest(questions: Vectors, chunks: Vectors) -> list[list[int]]:
    """Return the indices of each question's nearest chunks by inner product of unit vectors, unordered."""
    nearest: list[list[int]] = np.argpartition(-(questions @ chunks.T), NEAREST, axis=1)[:, :NEAREST].tolist()
    return nearest


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="where to compute (%(default)s)")
    parser.add_argument("--backend", default="auto", choices=["auto", "torch", "openvino"], help="backend (%(default)s: the fastest)")
    parser.add_argument("--precision", default="auto", choices=["auto", "f32", "bf16", "f16"], help="of matrix products (%(default)s)")


if __name__ == "__main__":
    run(measure, __doc__, _options)
