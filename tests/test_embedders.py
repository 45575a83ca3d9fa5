"""Vectors: as sentence-transformers gives them, in order, of unit length, from files that are what they claim to be."""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import embedders
from core import frames
from core.config import Embedding
from core.errors import ConfigurationError, DocumentError, HeadraceError
from embedders import Embedder, hardware, models
from embedders.refusal import Refusal

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

WORDS = ["the", "old", "mill", "wheel", "turns", "water", "into", "flour", "while", "rain", "falls", "on", "a", "long", "stone", "race"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def load(model: str | Path, **settings: object) -> Embedder:
    return embedders.load(Embedding.model_validate({"model": str(model), "device": "cpu", **settings}))


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    return load("minilm")


@pytest.fixture(scope="module")
def reference(minilm: Embedder) -> SentenceTransformer:
    """The same files through sentence-transformers alone."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(models.find("minilm").folder), device="cpu", local_files_only=True)


def write_tokenizer(folder: Path) -> None:
    """A WordPiece tokenizer of a few words and all letters."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = [*special, *dict.fromkeys(WORDS), *(mark + letter for letter in LETTERS for mark in ("##", "")), ":"]
    tokenizer = Tokenizer(WordPiece({token: at for at, token in enumerate(dict.fromkeys(tokens))}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=48, **names).save_pretrained(folder)


def write_model(folder: Path, pooling: str = "mean", prompts: dict[str, str] | None = None) -> Path:
    """A two-layer BERT with random weights, saved by sentence-transformers itself."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    torch.manual_seed(3)
    plain = folder / "plain"
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=200, max_position_embeddings=64, **sizes)
    BertModel(config).save_pretrained(plain)
    write_tokenizer(plain)
    modules = [Transformer(str(plain)), Pooling(32, pooling_mode=pooling)]
    SentenceTransformer(modules=modules, device="cpu", prompts=prompts).save(str(folder / "model"), create_model_card=False)
    return folder / "model"


@pytest.fixture(scope="module")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(tiny_files: Path) -> Embedder:
    return load(tiny_files)


@cache
def warm(files: Path, batch_tokens: int) -> Embedder:
    return load(files, batch_tokens=batch_tokens)


@pytest.fixture
def copied(tiny_files: Path, tmp_path: Path) -> Path:
    """The tiny model's files, to be spoilt."""
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


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_another_pooling_is_the_models_own(pooling: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = write_model(tmp_path, pooling)
    texts = [sentence(random.Random(n), 1 + n) for n in range(12)]
    theirs = SentenceTransformer(str(folder), device="cpu").encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(load(folder).encode(texts, "passage") - theirs).max() < 1e-5


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), min_size=1, max_size=30), st.sampled_from([256, 400, 600]))
@settings(max_examples=25, deadline=None)
def test_neither_order_nor_company_changes_a_vector(tiny_files: Path, shapes: list[tuple[int, int]], batch_tokens: int) -> None:
    texts = [sentence(random.Random(seed), words) for seed, words in shapes]
    embedder = warm(tiny_files, batch_tokens)
    together = embedder.encode(texts, "passage")
    alone = np.concatenate([embedder.encode([text], "passage") for text in texts])
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(embedder.encode(texts[::-1], "passage")[::-1] - together).max() < 1e-5


def test_equal_texts_are_computed_once(tiny: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    forward = tiny._engine._forward
    monkeypatch.setattr(tiny._engine, "_forward", lambda batch, kind: computed.append(len(batch)) or forward(batch, kind))
    vectors = tiny.encode(["the mill", "a wheel", "the mill", "the mill"], "passage")
    assert sum(computed) == 2
    assert (vectors[0] == vectors[2]).all()
    assert not np.allclose(vectors[0], vectors[1])


@pytest.mark.parametrize(("names", "passage"), [(("query", "passage"), "passage"), (("query", "document"), "document"), (("query",), "")])
def test_prompts_are_the_models_own(names: tuple[str, ...], passage: str, tmp_path: Path) -> None:
    prompts = {"query": "rain: ", "passage": "stone: ", "document": "river: "}
    embedder = load(write_model(tmp_path, prompts={name: prompts[name] for name in names}))
    plain = load(write_model(tmp_path / "plain"))
    text = "the old mill"
    assert np.allclose(embedder.encode([text], "query"), plain.encode([prompts["query"] + text], "passage"), atol=1e-5)
    assert np.allclose(embedder.encode([text], "passage"), plain.encode([prompts.get(passage, "") + text], "passage"), atol=1e-5)
    assert embedder.count_tokens([text]) == plain.count_tokens([prompts.get(passage, "") + text])


@pytest.mark.parametrize("text", ["", " ", "\x00", "a\x00b", "\ud800", "\udfff mill \ud83d", "\u202e\u200b"])
def test_odd_texts_have_a_vector_and_a_count(minilm: Embedder, text: str) -> None:
    assert np.isfinite(minilm.encode([text], "query")).all()
    assert minilm.count_tokens([text])[0] >= 2


def test_nothing_to_encode_is_an_empty_array(tiny: Embedder) -> None:
    assert tiny.encode([], "passage").shape == (0, 32)
    assert tiny.count_tokens([]) == []


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_counts_are_those_of_the_models_tokenizer_untruncated(
    minilm: Embedder, reference: SentenceTransformer, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["", "a", "unbelievable " * 500, "漢字 👩‍👩‍👧"]
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
    with pytest.raises(DocumentError, match="a text has 49 tokens, the model reads 48") as error:
        tiny.encode(["the mill", "rain " * 47], "passage")
    assert error.value.reason == "text-too-long"


def test_a_chunk_limit_over_the_models_own_is_refused(tiny: Embedder) -> None:
    tiny.check_limit(48)
    with pytest.raises(ConfigurationError, match="at most the model's 48, was: 49"):
        tiny.check_limit(49)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────


def rewritten(path: Path) -> None:
    """Other bytes, the same meaning."""
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
def test_identity_ignores_what_decides_nothing(copied: Path, path: str) -> None:
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
    """The same weights as a pickle only."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    return copied


def test_pickled_weights_are_refused(pickled: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        load(pickled)
    assert error.value.reason == "unsafe-weights"


def test_a_module_with_pickled_weights_is_refused(copied: Path) -> None:
    (copied / "1_Pooling" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigurationError) as error:
        load(copied)
    assert error.value.reason == "unsafe-weights"


def test_a_pickle_beside_safetensors_is_not_read(copied: Path) -> None:
    (copied / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert load(copied).encode(["rain"], "query").shape == (1, 32)


def test_code_that_comes_with_a_model_is_not_run(copied: Path) -> None:
    ran = copied / "ran"
    (copied / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Module: pass\n")
    modules = json.loads((copied / "modules.json").read_text())
    (copied / "modules.json").write_text(json.dumps([*modules, {"idx": 2, "name": "2", "path": "", "type": "evil.Module"}]))
    with pytest.raises(ConfigurationError) as error:
        load(copied).encode(["rain"], "query")
    assert error.value.reason == "model-not-loadable"
    assert not ran.exists()


def test_minilm_whose_weights_are_not_the_published_ones_is_refused(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / models.MINILM_PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('finding a model must not import it')")
    shutil.move(copied, package / "model")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError) as error:
        load("minilm")
    assert error.value.reason == "model-hash-mismatch"


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "not a valid/hub/name"])
def test_a_model_that_is_not_there_is_refused_with_its_name(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as error:
        load(name)
    assert error.value.reason == "model-not-found"


def test_a_hub_model_that_is_not_on_disk_waits_for_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HeadraceError) as error:
        load("headrace-tests/no-such-model")
    assert error.value.reason == "hub-unreachable"


def test_loading_draws_nothing_on_the_terminal(tiny_files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(tiny_files).encode(["rain"], "query")
    assert capfd.readouterr() == ("", "")


# ── hardware ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def one_core() -> Iterator[None]:
    import os

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
    everything = hardware.threads(tmp_path / "nowhere")
    assert hardware.threads(tmp_path) == (expected or everything)


def test_a_device_that_is_not_there_is_refused_with_what_there_is() -> None:
    missing = next(device for device in ("mps", "cuda") if device not in hardware._available())
    with pytest.raises(Refusal, match=r"there is: .*cpu") as error:
        hardware.pick(missing)
    assert error.value.reason == "no-such-device"
    assert hardware.pick("auto") in hardware._available()


# ── the stage ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_stage_gives_a_vector_beside_each_hash(tiny: Embedder) -> None:
    texts = ["the mill", "a much longer text about rain", "wheel"]
    frame = pl.DataFrame({"text_hash": ["a", "b", "c"], "text": texts}, schema=dict(frames.TEXTS))
    out = embedders.embed(frame, tiny)
    assert out.schema == {"text_hash": pl.String, "embedding": pl.Array(pl.Float32, 32), "token_count": pl.Int64}
    assert out["text_hash"].to_list() == ["a", "b", "c"]
    assert (out["embedding"].to_numpy() == tiny.encode(texts, "passage")).all()
    assert out["token_count"].to_list() == tiny.count_tokens(texts)


def test_the_stage_takes_an_empty_frame(tiny: Embedder) -> None:
    out = embedders.embed(pl.DataFrame(schema=dict(frames.TEXTS)), tiny)
    assert out.height == 0
    assert out.schema["embedding"] == pl.Array(pl.Float32, 32)
