"""Vectors on every backend: equal to those of sentence-transformers, in order, of unit length, from verified files."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import embedders
from embedders import Embedder, EmbedderOptions, Refusal, hardware, models
from tests.models.tiny_models import WORDS, write_model

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BACKENDS = ["torch", "openvino"]


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of converted models for all of these tests."""
    return tmp_path_factory.mktemp("embedders")


@pytest.fixture(scope="session")
def load(cache_folder: Path) -> Iterator[Callable[..., Embedder]]:
    opened: list[Embedder] = []

    def load(model: str | Path, backend: str = "torch", **options: object) -> Embedder:
        given = {"device": "cpu", "precision": "f32", "cache": cache_folder, **options}
        opened.append(embedders.load(EmbedderOptions(str(model), backend=backend, **given)))  # type: ignore[arg-type]
        return opened[-1]

    yield load
    for embedder in opened:
        embedder.close()


Load = Callable[..., Embedder]


@pytest.fixture(scope="module", params=BACKENDS)
def minilm(request: pytest.FixtureRequest, load: Load) -> Embedder:
    return load("minilm", request.param)


@pytest.fixture(scope="module")
def reference() -> SentenceTransformer:
    """The same files, loaded with sentence-transformers alone."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(models.find("minilm").folder), device="cpu", local_files_only=True)


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", params=BACKENDS)
def tiny(request: pytest.FixtureRequest, tiny_files: Path, load: Load) -> Embedder:
    return load(tiny_files, request.param)


@pytest.fixture
def copied(tiny_files: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be modified."""
    return Path(shutil.copytree(tiny_files, tmp_path / "copy"))


# ── vectors ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_minilm_gives_the_vectors_of_sentence_transformers(minilm: Embedder, reference: SentenceTransformer) -> None:
    rng = random.Random(1)
    texts = ["", "a", *(sentence(rng, rng.randint(1, 180)) for _ in range(20)), "naïve 漢字 👩‍👩‍👧 שלום"]
    for kind in ("passage", "query"):
        ours, theirs = minilm.encode(texts, kind), reference.encode(texts, show_progress_bar=False)
        assert ours.shape == (len(texts), 384) == (len(texts), minilm.dimension)
        assert ours.dtype == np.float32
        assert (ours * theirs).sum(axis=1).min() >= 0.9999
        assert np.abs(np.linalg.norm(ours, axis=1) - 1).max() < 1e-5


GOLDEN = {
    "the headrace leads water to the mill": [-0.031693, 0.11012, -0.021017, 0.033538, 0.026512, -0.00892],
    "naïve 漢字 שלום": [-0.027849, 0.075954, -0.079688, 0.0293, -0.099152, 0.023653],
}
"""The first six components, as computed on 2026-11-23 by sentence-transformers 6.2 and torch 2.15 in float32."""


def test_minilm_gives_the_same_vectors_on_every_machine(minilm: Embedder) -> None:
    vectors = minilm.encode(list(GOLDEN), "passage")
    assert np.abs(vectors[:, :6] - np.array(list(GOLDEN.values()))).max() < 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [{"pooling": "mean"}, {"pooling": "cls"}, {"pooling": "max"}, {"pooling": "lasttoken"}, {"dense": 24}])
def test_pooling_and_what_follows_it_are_the_models_own(backend: str, shape: dict[str, object], load: Load, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = write_model(tmp_path, **shape)  # type: ignore[arg-type]
    texts = [sentence(random.Random(n), 1 + n) for n in range(12)]
    theirs = SentenceTransformer(str(folder), device="cpu").encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(load(folder, backend).encode(texts, "passage") - theirs).max() < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_smaller_dimension_keeps_the_first_components_and_is_another_model(backend: str, load: Load, tiny_files: Path) -> None:
    whole, part = load(tiny_files, backend), load(tiny_files, backend, dimension=8)
    kept = whole.encode(["the old mill"], "passage")[:, :8]
    assert np.abs(part.encode(["the old mill"], "passage") - kept / np.linalg.norm(kept)).max() < 1e-5
    assert part.dimension == 8
    assert part.identity != whole.identity
    assert part.tokenizer_identity == whole.tokenizer_identity


def test_a_dimension_that_the_model_does_not_have_is_refused(load: Load, tiny_files: Path) -> None:
    with pytest.raises(Refusal, match="33"):
        load(tiny_files, dimension=33).encode(["mill"], "passage")


@cache
def warm(load: Load, files: Path, backend: str, batch_tokens: int) -> Embedder:
    return load(files, backend, batch_tokens=batch_tokens)


shapes = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), min_size=1, max_size=30)


@pytest.mark.parametrize("backend", BACKENDS)
@given(shapes=shapes, batch_tokens=st.sampled_from([64, 256, 600]))
@settings(max_examples=15, deadline=None)
def test_neither_order_nor_batch_nor_padding_changes_a_vector(
    backend: str, load: Load, tiny_files: Path, shapes: list[tuple[int, int]], batch_tokens: int
) -> None:
    texts = [sentence(random.Random(seed), words) for seed, words in shapes]
    embedder = warm(load, tiny_files, backend, batch_tokens)
    together = embedder.encode(texts, "passage")
    alone = np.concatenate([embedder.encode([text], "passage") for text in texts])
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(embedder.encode(texts[::-1], "passage")[::-1] - together).max() < 1e-5


def test_equal_texts_are_computed_once(tiny: Embedder) -> None:
    embedded = tiny.embed(["the mill", "a wheel", "the mill", "the mill"], "passage")
    assert embedded.tokens == sum(tiny.count_tokens(["the mill", "a wheel"])) < sum(embedded.counts)
    assert (embedded.vectors[0] == embedded.vectors[2]).all()
    assert not np.allclose(embedded.vectors[0], embedded.vectors[1])


@pytest.mark.parametrize(("names", "passage"), [(("query", "passage"), "passage"), (("query", "document"), "document"), (("query",), "")])
def test_prompts_are_the_models_own(names: tuple[str, ...], passage: str, tmp_path: Path, load: Load) -> None:
    prompts = {"query": "rain: ", "passage": "stone: ", "document": "river: "}
    embedder = load(write_model(tmp_path, prompts={name: prompts[name] for name in names}))
    plain = load(write_model(tmp_path / "plain"))
    text = "the old mill"
    assert np.allclose(embedder.encode([text], "query"), plain.encode([prompts["query"] + text], "passage"), atol=1e-5)
    assert np.allclose(embedder.encode([text], "passage"), plain.encode([prompts.get(passage, "") + text], "passage"), atol=1e-5)
    assert embedder.count_tokens([text]) == plain.count_tokens([prompts.get(passage, "") + text])


ODD = ["", " ", "\x00", "a\x00b", "\ud800", "\udfff mill \ud83d", "\u202e\u200b", "שלום \u202b עולם", "👩‍👩‍👧🏽‍🚀" * 9]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_texts_have_a_vector_and_a_count(minilm: Embedder, text: str) -> None:
    assert np.isfinite(minilm.encode([text], "query")).all()
    assert minilm.count_tokens([text])[0] >= 2


def test_a_single_token_of_ten_megabytes_is_read_as_one(load: Load) -> None:
    embedded = load("minilm", "openvino").embed(["x" * 10_000_000, "mill"], "passage")
    assert embedded.counts == [3, 3]
    assert not embedded.errors


def test_nothing_to_encode_is_an_empty_array(tiny: Embedder) -> None:
    assert tiny.encode([], "passage").shape == (0, 32)
    assert tiny.count_tokens([]) == []


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_counts_are_those_of_the_models_tokenizer_untruncated(
    minilm: Embedder, reference: SentenceTransformer, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["", "a", "unbelievable " * 500, "漢字 👩‍👩‍👧"]
    minilm.count_tokens([])  # the first call may load the model, which is logged
    with caplog.at_level(logging.DEBUG):
        counts = minilm.count_tokens(texts)
    assert counts == [len(ids) for ids in reference.tokenizer(texts, truncation=False, verbose=False)["input_ids"]]
    assert counts[0] == 2
    assert counts[2] > minilm.max_tokens == 256
    assert not caplog.records


def test_counting_does_not_disturb_the_model(tiny: Embedder) -> None:
    before = tiny.encode(["the mill"], "passage")
    tiny.count_tokens(["rain " * 300])
    assert (tiny.encode(["the mill"], "passage") == before).all()


def test_a_text_over_the_limit_is_refused_and_never_truncated(tiny: Embedder) -> None:
    assert tiny.max_tokens == 48
    assert tiny.encode(["rain " * 46], "passage").shape == (1, 32)
    with pytest.raises(Refusal, match="a text has 49 tokens, the model reads 48") as error:
        tiny.encode(["the mill", "rain " * 47], "passage")
    assert error.value.reason == "text-too-long"


def test_a_text_over_the_limit_does_not_fail_its_neighbours(tiny: Embedder) -> None:
    embedded = tiny.embed(["the mill", "rain " * 47, "a wheel"], "passage")
    assert list(embedded.errors) == [1]
    assert embedded.counts[1] == 49
    assert (embedded.vectors[[0, 2]] == tiny.encode(["the mill", "a wheel"], "passage")).all()
    assert not embedded.vectors[1].any()


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────


def rewritten(path: Path) -> None:
    """Change the bytes, not the meaning."""
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))


def last_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


DECIDING = {
    "model.safetensors": last_byte,
    "tokenizer.json": rewritten,
    "config.json": rewritten,
    "modules.json": rewritten,
    "1_Pooling/config.json": rewritten,
    "config_sentence_transformers.json": rewritten,
}


@pytest.mark.parametrize("path", DECIDING)
def test_identity_changes_with_every_file_that_decides_the_vectors(copied: Path, path: str) -> None:
    before = models.find(str(copied)).identity
    DECIDING[path](copied / path)
    assert models.find(str(copied)).identity != before


@pytest.mark.parametrize("path", ["README.md", "data_config.json", "LICENSE.txt", "onnx/config.json", "2_Other/notes.md"])
def test_identity_ignores_other_files(copied: Path, path: str) -> None:
    before = models.find(str(copied))
    (copied / path).parent.mkdir(exist_ok=True)
    (copied / path).write_text("{}")
    assert models.find(str(copied)) == before


def test_identity_covers_the_revision_and_not_the_folder(tiny_files: Path, copied: Path) -> None:
    here, there, revised = (models.find(str(f), r).identity for f, r in ((tiny_files, None), (copied, None), (copied, "v2")))
    assert here == there != revised
    assert len(here) == 32


def test_tokenizer_identity_leaves_the_weights_out(copied: Path) -> None:
    before = models.find(str(copied)).tokenizer_identity
    last_byte(copied / "model.safetensors")
    assert models.find(str(copied)).tokenizer_identity == before
    rewritten(copied / "tokenizer.json")
    assert models.find(str(copied)).tokenizer_identity != before


@pytest.fixture
def pickled(copied: Path) -> Path:
    """A model whose weights are a pickle only."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    return copied


def test_pickled_weights_are_refused(pickled: Path, load: Load) -> None:
    with pytest.raises(Refusal) as error:
        load(pickled)
    assert error.value.reason == "unsafe-weights"


def test_a_module_with_pickled_weights_is_refused(copied: Path, load: Load) -> None:
    (copied / "1_Pooling" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(Refusal) as error:
        load(copied)
    assert error.value.reason == "unsafe-weights"


def test_a_pickle_beside_safetensors_is_not_read(copied: Path, load: Load) -> None:
    (copied / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert load(copied).encode(["rain"], "query").shape == (1, 32)


def test_code_that_comes_with_a_model_is_not_run(copied: Path, load: Load) -> None:
    ran = copied / "ran"
    (copied / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Module: pass\n")
    modules = json.loads((copied / "modules.json").read_text())
    (copied / "modules.json").write_text(json.dumps([*modules, {"idx": 2, "name": "2", "path": "", "type": "evil.Module"}]))
    with pytest.raises(Refusal) as error:
        load(copied).encode(["rain"], "query")
    assert error.value.reason == "model-not-loadable"
    assert not ran.exists()


def test_minilm_whose_weights_are_not_the_published_ones_is_refused(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load
) -> None:
    package = tmp_path / models.MINILM_PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('finding a model must not import it')")
    shutil.move(copied, package / "model")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Refusal) as error:
        load("minilm")
    assert error.value.reason == "model-hash-mismatch"


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "not a valid/hub/name"])
def test_a_missing_model_is_refused_with_its_name(name: str, load: Load) -> None:
    with pytest.raises(Refusal, match=name) as error:
        load(name)
    assert error.value.reason == "model-not-found"


def test_a_hub_model_that_is_not_on_disk_needs_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Refusal) as error:
        load("headrace-tests/no-such-model")
    assert error.value.reason == "hub-unreachable"


@pytest.mark.parametrize("backend", BACKENDS)
def test_loading_draws_nothing_on_the_terminal(
    backend: str, tiny_files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], load: Load
) -> None:
    load(tiny_files, backend, cache=tmp_path).encode(["rain"], "query")
    assert capfd.readouterr() == ("", "")


# ── hardware ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def one_core() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_threads_follow_the_affinity_mask(one_core: None) -> None:
    assert hardware.threads() == 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_threads_follow_the_control_groups_quota(files: dict[str, str], expected: int | None, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    unlimited = hardware.threads(tmp_path / "nowhere")
    assert hardware.threads(tmp_path) == (expected or unlimited)


def test_a_missing_device_is_refused_with_the_available_ones(load: Load, tiny_files: Path) -> None:
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    missing = next(device for device in ("mps", "cuda") if not available[device])
    with pytest.raises(Refusal, match=r"available: .*cpu") as error:
        load(tiny_files, device=missing).encode(["mill"], "passage")
    assert error.value.reason == "no-such-device"
    assert available[load(tiny_files, device="auto").selection.device.split(":")[0]]
