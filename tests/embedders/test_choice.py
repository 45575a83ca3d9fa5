"""Selection of a backend: conversion, compilation, comparison with reference vectors, measured speed, and starts without torch."""

from __future__ import annotations

import ast
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedders
from embedders import Embedder, EmbedderOptions, Endpoint, Refusal, choice, compilation, conversion, hardware, models
from embedders.choice import Candidate
from tests.models.tiny_models import WORDS, Architecture, write_model

pytestmark = pytest.mark.slow

ROOT = Path(embedders.__file__).parent.parent
TEXTS = ["the old mill", "rain falls on a long stone race", "flour"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def warm_cache(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the converted model and its reference vectors."""
    cache = tmp_path_factory.mktemp("cache")
    opened(files, cache, backend="openvino", precision="f32").close()
    return cache


@pytest.fixture
def cache(warm_cache: Path, tmp_path: Path) -> Path:
    """A copy of `warm_cache`, to be modified."""
    return Path(shutil.copytree(warm_cache, tmp_path / "cache"))


def opened(files: Path, cache: Path, **options: str) -> Embedder:
    embedder = embedders.load(EmbedderOptions(str(files), device="cpu", cache=cache, **options))  # type: ignore[arg-type]
    embedder.encode(TEXTS, "passage")
    return embedder


def converted(cache: Path) -> Path:
    return next(cache.glob("*-openvino-*"))


# ── conversion ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_converted_model_is_not_converted_again(files: Path, cache: Path) -> None:
    before = (converted(cache) / conversion.GRAPH).stat()
    opened(files, cache, backend="openvino").close()
    after = (converted(cache) / conversion.GRAPH).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_changed_file_is_converted_separately(files: Path, cache: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", seed=9)
    vectors = opened(other, cache, backend="openvino").encode(TEXTS, "passage")
    assert len(list(cache.glob("*-openvino-*"))) == 2
    assert not np.allclose(vectors, opened(files, cache, backend="openvino").encode(TEXTS, "passage"), atol=1e-2)


@pytest.mark.parametrize("name", [conversion.GRAPH, conversion.WEIGHTS])
def test_a_damaged_conversion_is_refused(name: str, files: Path, cache: Path) -> None:
    path = converted(cache) / name
    content = path.read_bytes()
    path.write_bytes(content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
    with pytest.raises(Refusal) as error:
        opened(files, cache, backend="openvino")
    assert error.value.reason == "conversion-corrupt"
    assert str(converted(cache)) in error.value.detail


def test_converting_and_compiling_leave_the_callers_denormals_as_they_were(files: Path, tmp_path: Path) -> None:
    opened(files, tmp_path / "fresh", backend="openvino").close()
    assert float(np.float64(5e-324) * 1.0) > 0


def test_an_interrupted_conversion_is_not_taken_for_a_complete_one(files: Path, cache: Path) -> None:
    (converted(cache) / conversion.MANIFEST).unlink()
    shutil.rmtree(converted(cache))
    (cache / ".converting-dead").mkdir()
    assert opened(files, cache, backend="openvino").selection.backend == "openvino"


STARTED = """
import sys, embedders
from pathlib import Path
options = embedders.EmbedderOptions(sys.argv[1], backend="openvino", device="cpu", precision="f32", cache=Path(sys.argv[2]))
embedder = embedders.load(options)
assert embedder.encode(["the old mill"], "query").shape == (1, 32)
print([name for name in ("torch", "transformers", "sentence_transformers", "openvino_telemetry") if sys.modules.get(name)])
"""


def test_a_warm_start_of_openvino_imports_neither_torch_nor_telemetry(files: Path, cache: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTED, str(files), str(cache)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == "[]"


def test_converting_sends_no_telemetry(files: Path, tmp_path: Path) -> None:
    """OpenVINO's converter sends telemetry without asking, and stores its identifier in the home folder."""
    done = subprocess.run(
        [sys.executable, "-c", STARTED, str(files), str(tmp_path / "cache")],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "openvino_telemetry" not in done.stdout
    assert not (tmp_path / "intel").exists()


# ── compilation ──────────────────────────────────────────────────────────────────────────────────────────────

CRASHES = "import os, signal; os.kill(os.getpid(), signal.SIGFPE)"
HANGS = "import time; time.sleep(60)"
RAISES = "raise RuntimeError"


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replaces the program of the child process that compiles."""
    return lambda program: monkeypatch.setattr(compilation, "COMMAND", (sys.executable, "-c", program))


@pytest.fixture
def uncompiled(cache: Path) -> Path:
    """A cache with the converted model and no record of a compilation."""
    for marker in converted(cache).glob("*/compiles-*"):
        marker.unlink()
    return cache


@pytest.mark.parametrize("precision", ["bf16", "f32"])
def test_a_precision_whose_compilation_crashes_is_refused_with_a_remedy(
    precision: str, files: Path, uncompiled: Path, child: Callable[[str], None]
) -> None:
    child(CRASHES)
    with pytest.raises(Refusal) as error:
        opened(files, uncompiled, backend="openvino", precision=precision)
    assert (error.value.reason, error.value.transient) == ("compile-crashed", False)
    assert f"OpenVINO crashed with SIGFPE compiling {converted(uncompiled)} in {precision}" == error.value.detail
    assert "another precision" in error.value.remedy


def test_auto_leaves_out_a_candidate_whose_compilation_crashes_and_says_so(
    files: Path, uncompiled: Path, child: Callable[[str], None]
) -> None:
    child(CRASHES)
    selection = opened(files, uncompiled).selection
    assert (selection.backend, selection.precision) == ("torch", "f32")
    assert "openvino f32 on cpu left out (compile-crashed)" in selection.why


def test_a_compilation_that_does_not_end_is_refused(
    files: Path, uncompiled: Path, child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    child(HANGS)
    monkeypatch.setattr(compilation, "TIMEOUT_S", 0.2)
    with pytest.raises(Refusal, match=r"did not finish within 0\.2 s") as error:
        opened(files, uncompiled, backend="openvino", precision="f32")
    assert error.value.reason == "compile-crashed"


def test_an_exception_in_the_child_is_left_to_the_callers_own_compilation(
    files: Path, uncompiled: Path, child: Callable[[str], None]
) -> None:
    child(RAISES)
    assert opened(files, uncompiled, backend="openvino", precision="f32").selection.precision == "f32"


def test_a_compiled_model_starts_no_child(files: Path, uncompiled: Path, child: Callable[[str], None]) -> None:
    opened(files, uncompiled, backend="openvino", precision="f32").close()
    child(CRASHES)
    assert opened(files, uncompiled, backend="openvino", precision="f32").selection.precision == "f32"


def test_another_processor_compiles_again_in_a_shared_cache(
    files: Path, cache: Path, child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    child(CRASHES)
    monkeypatch.setattr(hardware, "cpu_features", lambda: ["asimd"])
    with pytest.raises(Refusal) as error:
        opened(files, cache, backend="openvino", precision="f32")
    assert error.value.reason == "compile-crashed"


def test_without_a_writable_folder_every_start_compiles_in_a_child(files: Path, cache: Path, child: Callable[[str], None]) -> None:
    for folder in converted(cache).glob("compiled-*"):
        shutil.rmtree(folder)
        folder.write_text("")
    assert opened(files, cache, backend="openvino", precision="f32").selection.precision == "f32"
    child(CRASHES)
    with pytest.raises(Refusal) as error:
        opened(files, cache, backend="openvino", precision="f32")
    assert error.value.reason == "compile-crashed"


# ── references and the choice ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def swapped(files: Path, cache: Path, tmp_path: Path) -> Path:
    """A cache with an intact conversion of another model in this one's place."""
    opened(write_model(tmp_path / "other", seed=9), tmp_path / "of-other", backend="openvino").close()
    target = converted(cache)
    shutil.rmtree(target)
    shutil.copytree(converted(tmp_path / "of-other"), target)
    return cache


def test_a_backend_that_gives_other_vectors_is_refused(files: Path, swapped: Path) -> None:
    with pytest.raises(Refusal) as error:
        opened(files, swapped, backend="openvino", precision="f32")
    assert error.value.reason == "reference-mismatch"


def test_auto_leaves_out_a_backend_with_other_vectors_and_says_so(files: Path, swapped: Path) -> None:
    selection = opened(files, swapped).selection
    assert (selection.backend, selection.device, selection.precision) == ("torch", "cpu", "f32")
    assert "openvino f32 on cpu left out (reference-mismatch)" in selection.why


@pytest.mark.parametrize("architecture", ["roberta", "mpnet", "modernbert", "qwen3"])
def test_auto_gives_the_vectors_of_sentence_transformers_for_other_kinds_of_models(architecture: Architecture, tmp_path: Path) -> None:
    """Whether or not OpenVINO converts them, compiles them, and computes the right vectors."""
    from sentence_transformers import SentenceTransformer

    folder = write_model(tmp_path, "lasttoken" if architecture == "qwen3" else "mean", architecture=architecture)
    texts = ["", *(" ".join(WORDS[n % 7 :: 1 + n % 3]) for n in range(12))]
    theirs = SentenceTransformer(str(folder), device="cpu").encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert (opened(folder, tmp_path / "cache").encode(texts, "passage") * theirs).sum(axis=1).min() >= 0.9995


def test_auto_logs_its_selection_and_the_reason_in_one_line(files: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "embedders"):
        embedder = opened(files, cache)
    [line] = [record.getMessage() for record in caplog.records if record.name.startswith("embedders")]
    assert line.startswith(f"embedding with {embedder.selection.backend} {embedder.selection.precision} on cpu: ")
    assert "tokens a second" in line


def test_measured_speeds_are_cached(files: Path, cache: Path) -> None:
    opened(files, cache).close()
    [file] = cache.glob("*-choice-*.json")
    ranked = json.loads(file.read_text())
    assert {tuple(candidate)[:2] for candidate, _ in ranked} == {("openvino", "cpu"), ("torch", "cpu")}
    assert [speed for _, speed in ranked] == sorted((speed for _, speed in ranked), reverse=True)
    slowest = [*ranked[-1:], *ranked[:-1]]
    file.write_text(json.dumps(slowest))
    selection = opened(files, cache).selection
    assert [selection.backend, selection.device] == ranked[-1][0][:2]
    assert "when selected" in selection.why


def test_speeds_of_a_narrower_request_are_not_used_for_a_wider_one(files: Path, cache: Path) -> None:
    opened(files, cache, precision="f32").close()
    opened(files, cache, backend="torch", precision="f32").close()
    opened(files, cache, backend="openvino").close()
    why = opened(files, cache).selection.why
    assert "when selected" not in why
    assert "tokens a second" in why


@pytest.mark.parametrize("content", ["{", '[["x", 1]]', "[]"])
def test_damaged_speeds_are_measured_again(content: str, files: Path, cache: Path) -> None:
    file = cache / choice._ranking_name(models.find(str(files)).identity, Candidate("auto", "cpu", "auto"))
    file.write_text(content)
    opened(files, cache).close()
    assert len(json.loads(file.read_text())) >= 2


def test_a_cache_that_cannot_be_written_is_replaced_by_a_temporary_one(files: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert opened(files, tmp_path / "file" / "cache", backend="openvino").selection.backend == "openvino"


def warnings_of_the_choice(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record for record in caplog.records if record.name == "embedders.choice" and record.levelno >= logging.WARNING]
    return [record.getMessage() for record in found]


def logged(embedder: Embedder) -> str:
    selection = embedder.selection
    return f"embedding with {selection.backend} {selection.precision} on {selection.device}: {selection.why}"


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_a_requested_precision_is_tried_and_another_computed_one_is_reported(
    precision: str, files: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The computed precision depends on the processor: it may support the requested one, another reduced one, or neither."""
    with caplog.at_level(logging.WARNING, "embedders.choice"):
        embedder = opened(files, cache, backend="openvino", precision=precision)
    computed = embedder.selection.precision
    assert computed in ("bf16", "f16", "f32")
    assert warnings_of_the_choice(caplog) == ([] if computed == precision else [logged(embedder)])
    assert (f"{precision} was requested; this device computes in {computed}; " in embedder.selection.why) == (computed != precision)
    exact = opened(files, cache, backend="openvino", precision="f32").encode(TEXTS, "passage")
    assert (embedder.encode(TEXTS, "passage") * exact).sum(axis=1).min() > 0.999


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make every backend report this precision, as OpenVINO does without instructions for the requested one."""

    def computes_in(precision: str) -> None:
        original = choice._backend

        def backend(*args: Any) -> Any:
            created = original(*args)
            created.precision = precision
            return created

        monkeypatch.setattr(choice, "_backend", backend)

    return computes_in


@pytest.mark.parametrize(("requested", "computed"), [("f16", "bf16"), ("bf16", "f32"), ("f16", "f32")])
@pytest.mark.parametrize("backend", ["openvino", "auto"])
def test_another_precision_than_the_requested_one_is_never_silent(
    backend: str, requested: str, computed: str, files: Path, cache: Path, device: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    device(computed)
    embedder = opened(files, cache, backend=backend, precision=requested)
    assert embedder.selection.precision == computed
    assert embedder.selection.why.startswith(f"{requested} was requested; this device computes in {computed}; ")
    assert warnings_of_the_choice(caplog) == [logged(embedder)]


@pytest.mark.parametrize(("requested", "computed"), [("f16", "f16"), ("f32", "f32"), ("auto", "bf16")])
def test_the_requested_precision_or_auto_logs_no_warning(
    requested: str, computed: str, files: Path, cache: Path, device: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    device(computed)
    embedder = opened(files, cache, backend="openvino", precision=requested)
    assert embedder.selection.precision == computed
    assert "was requested" not in embedder.selection.why
    assert warnings_of_the_choice(caplog) == []


@pytest.mark.parametrize(("requested", "minimum"), [("f16", 0.99), ("f32", 0.9999), ("auto", 0.9999)])
@pytest.mark.parametrize("backend", ["openvino", "auto"])
def test_the_minimum_cosine_depends_on_the_requested_precision(
    backend: str, requested: str, minimum: float, files: Path, cache: Path, device: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    device("bf16")
    applied, checked = set(), choice._checked

    def noted(origin: Any, candidate: Candidate, batch_tokens: int | None, minimum: float, quick: bool = True) -> Any:
        applied.add(minimum)
        return checked(origin, candidate, batch_tokens, minimum, quick)

    monkeypatch.setattr(choice, "_checked", noted)
    opened(files, cache, backend=backend, precision=requested).close()
    assert applied == {minimum}


def test_a_processor_is_offered_the_precisions_that_it_has_instructions_for(monkeypatch: pytest.MonkeyPatch) -> None:
    anything = Candidate("auto", "cpu", "auto")
    offered = {}
    for features in ([], ["avx512_bf16"], ["amx_bf16", "amx_fp16"]):
        monkeypatch.setattr(hardware, "cpu_features", lambda features=features: features)
        offered[len(features)] = [candidate.precision for candidate in choice.candidates(anything) if candidate.backend == "openvino"]
    assert offered == {0: ["f32"], 1: ["bf16", "f32"], 2: ["bf16", "f16", "f32"]}


def test_a_machine_with_a_gpu_is_offered_torch_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cuda_devices", lambda: 2)
    assert {(candidate.backend, candidate.device) for candidate in choice.candidates(Candidate("auto", "auto", "auto"))} == {
        ("torch", "cuda")
    }
    assert {candidate.device for candidate in choice.candidates(Candidate("openvino", "auto", "f32"))} == {"cpu"}
    assert choice.candidates(Candidate("torch", "cuda:1", "bf16")) == [Candidate("torch", "cuda:1", "bf16")]


@pytest.mark.parametrize("requested", [Candidate("openvino", "cuda", "auto"), Candidate("openvino", "mps", "f32")])
def test_a_combination_that_no_machine_offers_is_refused(requested: Candidate) -> None:
    with pytest.raises(Refusal, match=requested.device) as error:
        choice.candidates(requested)
    assert error.value.reason == "bad-backend"


def test_an_endpoint_and_the_http_backend_require_each_other(files: Path) -> None:
    for options in (
        EmbedderOptions(str(files), backend="http"),
        EmbedderOptions(str(files), endpoint=Endpoint("http://127.0.0.1:1", "tei", "m")),
    ):
        with pytest.raises(Refusal) as error:
            embedders.load(options)
        assert error.value.reason == "bad-backend"


# ── the folder ───────────────────────────────────────────────────────────────────────────────────────────────

AVAILABLE = {"torch", "transformers", "sentence_transformers", "numpy", "tokenizers", "huggingface_hub", "safetensors", "embedders"}
"""On a GPU host: sentence-transformers, its dependencies, and the folder itself."""
OF_BGE_SMALL = {"filelock", "jgo", "requests"}
"""Needed where that model is asked for, and not here yet."""


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def at_run_time(path: Path) -> Iterator[str]:
    """What a module imports at run time, without imports for the type checker."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    yield from (name.split(".")[0] for name in imports(tree))


def test_only_the_stage_module_imports_other_packages_of_headrace() -> None:
    found = {name for path in Path(embedders.__file__).parent.glob("*.py") if path.name != "stage.py" for name in at_run_time(path)}
    assert found - sys.stdlib_module_names <= AVAILABLE | OF_BGE_SMALL
