"""The torch backend: the vectors of sentence-transformers, padded or packed; lanes; devices that run out of memory or fail."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders import models, packing
from embedders.backend import Item, Vectors
from embedders.refusal import Refusal
from embedders.torch_backend import MIN_BATCH_TOKENS, TorchBackend, limit, load_model
from tests.models.tiny_models import WORDS, write_model

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

POOLINGS = ["mean", "cls", "max", "lasttoken", ("cls", "mean"), "weightedmean"]


def sentences(count: int = 12, longest: int = 30) -> list[str]:
    rng = random.Random(count)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, longest))) for _ in range(count)]


def items(model: SentenceTransformer, texts: Sequence[str]) -> list[Item]:
    return [Item(text, model.tokenizer(text)["input_ids"]) for text in texts]


def of_lengths(lengths: Sequence[int]) -> list[Item]:
    """Texts of these lengths in tokens of the tiny vocabulary, each with others."""
    return [Item("", random.Random(seed).choices(range(5, 60), k=length)) for seed, length in enumerate(lengths)]


def theirs(folder: Path, texts: Sequence[str], **options: Any) -> Vectors:
    """By sentence-transformers alone, one text at a time."""
    model = load_model(folder)
    vectors = model.encode(texts, batch_size=1, normalize_embeddings=True, show_progress_bar=False, **options)
    return np.asarray(vectors, dtype=np.float32)


def embedded(backend: TorchBackend, batch: Sequence[Item]) -> Vectors:
    return backend.forward(backend.prepare(batch))


def min_cosine(ours: Vectors, expected: Vectors) -> float:
    return float((ours * expected).sum(axis=1).min())


@cache
def warm(folder: Path, packed: bool) -> TorchBackend:
    return TorchBackend(folder, packed=packed)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes tiny models, each kind once."""

    @cache
    def write(**shape: Any) -> Path:
        return write_model(tmp_path_factory.mktemp("model"), **shape)

    return write


# ── vectors ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("precision", "minimum"), [("f32", 0.9999), ("bf16", 0.999), ("f16", 0.9999)])
def test_minilm_has_the_vectors_of_sentence_transformers(precision: str, minimum: float) -> None:
    folder = models.find("minilm").folder
    texts = ["", "a", *sentences(6, 150), "naïve 漢字 👩‍👩‍👧 שלום"]
    backend = TorchBackend(folder, precision=precision)
    vectors = embedded(backend, items(load_model(folder), texts))
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), 384) == (len(texts), backend.dimension)
    assert min_cosine(vectors, theirs(folder, texts)) >= minimum
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_the_models_own(pooling: Any, packed: bool, written: Callable[..., Path]) -> None:
    folder, texts = written(pooling=pooling), sentences()
    backend = TorchBackend(folder, packed=packed)
    assert backend.pads is not packed
    assert np.abs(embedded(backend, items(load_model(folder), texts)) - theirs(folder, texts)).max() < 1e-5


@pytest.mark.parametrize("architecture", ["bert", "roberta", "modernbert", "qwen3", "mpnet"])
def test_every_architecture_has_the_vectors_of_sentence_transformers(architecture: str, written: Callable[..., Path]) -> None:
    folder, texts = written(architecture=architecture, pooling="lasttoken"), sentences()
    for packed in (False, True):
        vectors = embedded(TorchBackend(folder, packed=packed), items(load_model(folder), texts))
        assert np.abs(vectors - theirs(folder, texts)).max() < 1e-5


def test_a_dense_module_follows_the_pooling(written: Callable[..., Path]) -> None:
    folder, texts = written(dense=24), sentences()
    vectors = embedded(TorchBackend(folder), items(load_model(folder), texts))
    assert vectors.shape[1] == 24
    assert np.abs(vectors - theirs(folder, texts)).max() < 1e-5


def test_a_smaller_dimension_keeps_the_first_components_at_unit_length(tiny: Path) -> None:
    texts = sentences()
    backend = TorchBackend(tiny, dimension=8)
    assert backend.dimension == 8
    assert np.abs(embedded(backend, items(load_model(tiny), texts)) - theirs(tiny, texts, truncate_dim=8)).max() < 1e-5


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("precision", ["bf16", "f16"])
@pytest.mark.parametrize("architecture", ["bert", "modernbert", "qwen3"])
def test_lower_precision_stays_near(architecture: str, precision: str, packed: bool, written: Callable[..., Path]) -> None:
    folder, texts = written(architecture=architecture, dense=24), sentences()
    backend = TorchBackend(folder, precision=precision, packed=packed)
    assert backend.pads is not packed
    assert min_cosine(embedded(backend, items(load_model(folder), texts)), theirs(folder, texts)) >= 0.999


def test_lower_precision_lowers_the_products_and_nothing_else(tiny: Path) -> None:
    types = {name: str(weight.dtype) for name, weight in load_model(tiny, precision="bf16").named_parameters()}
    assert {kind for name, kind in types.items() if "LayerNorm" in name or "embeddings" in name} == {"torch.float32"}
    assert {kind for name, kind in types.items() if "query" in name} == {"torch.bfloat16"}


def test_nothing_to_embed_is_an_empty_array(tiny: Path) -> None:
    assert embedded(warm(tiny, packed=False), []).shape == (0, 32)


# ── padding and packing ──────────────────────────────────────────────────────────────────────────────────────

lengths = st.lists(st.integers(1, 48), min_size=1, max_size=20)


@pytest.mark.parametrize("packed", [False, True])
@given(lengths=lengths)
@settings(max_examples=25)
def test_a_batch_never_changes_a_vector(packed: bool, tiny: Path, lengths: list[int]) -> None:
    backend, batch = warm(tiny, packed), of_lengths(lengths)
    alone = np.concatenate([embedded(backend, [item]) for item in batch])
    assert np.abs(embedded(backend, batch) - alone).max() < 1e-5


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
@pytest.mark.parametrize("architecture", ["bert", "roberta", "modernbert", "qwen3"])
@given(lengths=lengths)
@settings(max_examples=10)
def test_packed_vectors_are_the_padded_ones(architecture: str, pooling: str, written: Callable[..., Path], lengths: list[int]) -> None:
    folder, batch = written(architecture=architecture, pooling=pooling), of_lengths(lengths)
    padded, packed = warm(folder, packed=False), warm(folder, packed=True)
    assert padded.pads
    assert not packed.pads
    assert np.abs(embedded(padded, batch) - embedded(packed, batch)).max() < 1e-5


@given(lengths=lengths, first=st.integers(0, 2))
def test_a_packed_batch_states_where_each_text_is(lengths: list[int], first: int) -> None:
    ids = [item.ids for item in of_lengths(lengths)]
    batch: Any = packing.packed(ids, first)
    bounds = batch["cu_seq_lens_q"]
    assert [batch["input_ids"][0, start:end].tolist() for start, end in pairwise(bounds)] == ids
    assert [p for length in lengths for p in range(first, first + length)] == batch["position_ids"][0].tolist()
    assert [at for at, length in enumerate(lengths) for _ in range(length)] == batch["seq_idx"][0].tolist()
    assert batch["max_length_q"] == max(lengths)


@given(lengths=lengths, padding=st.integers(0, 4))
def test_a_padded_batch_holds_each_text_and_masks_the_rest(lengths: list[int], padding: int) -> None:
    ids = [list(item.ids) for item in of_lengths(lengths)]
    batch: dict[str, Any] = packing.padded(ids, padding)
    longest = max(lengths)
    assert batch["input_ids"].tolist() == [row + [padding] * (longest - len(row)) for row in ids]
    assert batch["attention_mask"].sum(axis=1).tolist() == lengths


def test_a_model_whose_attention_has_position_biases_is_padded(written: Callable[..., Path]) -> None:
    assert TorchBackend(written(architecture="mpnet"), packed=True).pads


def test_a_model_that_forbids_packing_is_padded(tiny: Path) -> None:
    model = load_model(tiny)
    transformer: Any = model[0]
    transformer.unpad_inputs = False
    before = packing.attention_of(model)
    assert not packing.use_packed(model)
    assert packing.attention_of(model) == before != packing.ATTENTION


def test_a_model_that_crosses_text_boundaries_is_padded(tmp_path: Path) -> None:
    """A convolution after the transformer reads each token's neighbours, across text boundaries."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import CNN, Pooling

    pool = Pooling(96)
    model = SentenceTransformer(modules=[load_model(write_model(tmp_path))[0], CNN(32, out_channels=32), pool], device="cpu")
    model.save(str(tmp_path / "cnn"), create_model_card=False)
    assert TorchBackend(tmp_path / "cnn", packed=True).pads


def test_packed_attention_refuses_unsupported_arguments(tiny: Path) -> None:
    import torch

    query = torch.zeros(1, 1, 2, 8)
    bounds: dict[str, Any] = {"cu_seq_lens_q": torch.tensor([0, 2]), "max_length_q": 2}
    module = torch.nn.Module()
    assert packing.attend(module, query, query, query, None, **bounds)[0].shape == (1, 2, 1, 8)
    for wrong in ({"softcap": 30.0}, {"s_aux": query}, {"position_bias": query}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            packing.attend(module, query, query, query, None, **bounds, **wrong)
    with pytest.raises(ValueError, match="padded"):
        packing.attend(module, query, query, query, None)


# ── loading ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_limit_is_the_settings_or_the_positions_whichever_is_less(written: Callable[..., Path]) -> None:
    assert limit(load_model(written(limit=48, positions=64))) == 48
    assert limit(load_model(written(limit=90, positions=64))) == 64


def test_positions_reserved_for_padding_do_not_count(written: Callable[..., Path]) -> None:
    folder = written(architecture="roberta", limit=90, positions=64)
    longest = limit(load_model(folder))
    assert longest == 63
    assert embedded(TorchBackend(folder), of_lengths([longest])).shape == (1, 32)


def refused(reason: str, act: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as error:
        act()
    assert error.value.reason == reason
    return error.value


def test_a_dimension_that_the_model_does_not_have_is_refused(tiny: Path) -> None:
    assert "33" in refused("wrong-dimension", lambda: TorchBackend(tiny, dimension=33)).detail


def test_a_missing_device_is_refused(tiny: Path) -> None:
    refused("no-such-device", lambda: TorchBackend(tiny, "cuda:99"))


def test_an_unknown_precision_is_refused(tiny: Path) -> None:
    assert "int4" in refused("bad-backend", lambda: TorchBackend(tiny, precision="int4")).detail


def test_a_model_that_pools_without_its_prompt_is_refused(written: Callable[..., Path]) -> None:
    folder = written(include_prompt=False)
    assert embedded(TorchBackend(folder), of_lengths([4])).shape == (1, 32)
    (folder / "config_sentence_transformers.json").write_text('{"prompts": {"query": "rain: "}}')
    refused("model-not-loadable", lambda: TorchBackend(folder))


def test_a_text_without_tokens_is_refused(tiny: Path) -> None:
    refused("no-tokens", lambda: warm(tiny, packed=False).prepare([Item("", [2, 3]), Item("", [])]))


# ── lanes ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lanes_compute_at_once_and_share_the_weights(tiny: Path) -> None:
    backend = TorchBackend(tiny, replicas=3)
    assert backend.lanes == 3
    assert len({id(lane.copy) for lane in backend._lanes}) == 1
    batches = [of_lengths([3 + n, 40, 9]) for n in range(30)]
    expected = [embedded(backend, batch) for batch in batches]
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda batch: embedded(backend, batch), batches))
    assert max(np.abs(ours - one).max() for ours, one in zip(found, expected, strict=True)) < 1e-6


def test_batches_go_to_the_lane_that_is_free(tiny: Path) -> None:
    backend = TorchBackend(tiny, replicas=2)
    first, second = backend.prepare(of_lengths([4])), backend.prepare(of_lengths([4]))
    assert first.lane is not second.lane
    kept = second.lane
    del second
    gc.collect()
    assert backend.prepare(of_lengths([4])).lane is kept


def test_a_batch_that_is_dropped_or_never_created_leaks_no_lane(tiny: Path) -> None:
    backend = TorchBackend(tiny)
    for _ in range(3):
        backend.prepare(of_lengths([4]))
        with pytest.raises(ValueError, match="invalid literal"):
            backend.prepare([Item("", ["not an id"])])  # type: ignore[list-item]
    gc.collect()
    assert [lane.prepared for lane in backend._lanes] == [0]


def test_a_prepared_batch_may_be_computed_again(tiny: Path) -> None:
    backend = TorchBackend(tiny)
    prepared = backend.prepare(of_lengths([4, 9]))
    assert (backend.forward(prepared) == backend.forward(prepared)).all()


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def failing(backend: TorchBackend, copy: int, fault: Callable[[int], Exception | None]) -> Iterator[list[int]]:
    """Make the module of one device raise what `fault` returns for a batch's number of tokens, padding included."""
    seen: list[int] = []
    copies = list({id(lane.copy): lane.copy for lane in backend._lanes}.values())

    def before(_module: object, given: tuple[dict[str, Any]]) -> None:
        seen.append(given[0]["input_ids"].numel())
        if error := fault(seen[-1]):
            raise error

    hook = copies[copy].model[0].register_forward_pre_hook(before)
    try:
        yield seen
    finally:
        hook.remove()


def no_room_above(tokens_that_fit: int) -> Callable[[int], Exception | None]:
    import torch

    return lambda tokens: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB") if tokens > tokens_that_fit else None


def test_a_batch_that_does_not_fit_is_computed_in_halves_and_the_budget_halved(tiny: Path) -> None:
    backend, batch = TorchBackend(tiny, batch_tokens=4096), of_lengths([16] * 256)
    expected = embedded(backend, batch)
    with failing(backend, 0, no_room_above(1024)) as seen:
        vectors = embedded(backend, batch)
    assert seen == [4096, 2048, 1024, 1024, 2048, 1024, 1024]
    assert np.abs(vectors - expected).max() < 1e-5
    assert backend.batch_tokens == 1024


def test_a_batch_that_cannot_even_be_copied_is_copied_in_halves(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    backend, batch, copied = TorchBackend(tiny, batch_tokens=4096), of_lengths([16] * 64), torch.from_numpy
    expected = embedded(backend, batch)

    def from_numpy(array: np.ndarray[Any, Any]) -> torch.Tensor:
        if error := no_room_above(512)(array.size):
            raise error
        return copied(array)

    monkeypatch.setattr(torch, "from_numpy", from_numpy)
    assert np.abs(embedded(backend, batch) - expected).max() < 1e-5
    assert backend.batch_tokens == 2048


def test_the_budget_never_falls_below_its_floor(tiny: Path) -> None:
    backend = TorchBackend(tiny, batch_tokens=2 * MIN_BATCH_TOKENS)
    with failing(backend, 0, no_room_above(16)):
        assert embedded(backend, of_lengths([16] * 32)).shape == (32, 32)
    assert backend.batch_tokens == MIN_BATCH_TOKENS


def test_a_text_that_does_not_fit_alone_is_refused_for_good(tiny: Path) -> None:
    backend = TorchBackend(tiny)
    with failing(backend, 0, no_room_above(16)):
        error = refused("out-of-memory", lambda: embedded(backend, of_lengths([17])))
    assert not error.transient
    assert embedded(backend, of_lengths([17])).shape == (1, 32)


def test_a_text_that_does_not_fit_during_another_batch_may_fit_later(tiny: Path) -> None:
    backend = TorchBackend(tiny, replicas=2)
    inside, go_on = Event(), Event()

    def fault(tokens: int) -> Exception | None:
        if tokens > 16:
            return no_room_above(16)(tokens)
        inside.set()
        assert go_on.wait(30)
        return None

    with failing(backend, 0, fault), ThreadPoolExecutor(1) as threads:
        other = threads.submit(embedded, backend, of_lengths([9]))
        assert inside.wait(30)
        assert refused("out-of-memory", lambda: embedded(backend, of_lengths([17]))).transient
        go_on.set()
        assert other.result().shape == (1, 32)


def died() -> Exception:
    import torch

    return torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


def test_a_failed_device_fails_its_batch_only_and_the_others_continue(tiny: Path) -> None:
    backend, batch = TorchBackend(tiny, devices=["cpu", "cpu"]), of_lengths([5, 9])
    expected = embedded(backend, batch)
    assert backend.lanes == 2
    with failing(backend, 0, lambda _: died()) as seen:
        waiting = [backend.prepare(batch) for _ in range(2)]
        assert waiting[0].lane is not waiting[1].lane
        dead, alive = sorted(waiting, key=lambda prepared: prepared.lane is not backend._lanes[0])
        assert refused("device-failed", lambda: backend.forward(dead)).transient
        assert np.abs(backend.forward(alive) - expected).max() < 1e-5
        assert all(np.abs(embedded(backend, batch) - expected).max() < 1e-5 for _ in range(4))
    assert len(seen) == 1


def test_the_callers_denormals_are_left_as_they_were(tiny: Path) -> None:
    embedded(TorchBackend(tiny), of_lengths([5]))
    assert float(np.float64(5e-324) * 1.0) > 0


def test_after_the_last_device_failed_every_call_is_refused_at_once(tiny: Path) -> None:
    backend = TorchBackend(tiny, replicas=2)
    waiting = backend.prepare(of_lengths([5]))
    with failing(backend, 0, lambda _: died()) as seen:
        assert refused("device-failed", lambda: embedded(backend, of_lengths([5]))).transient
        refused("device-failed", lambda: backend.forward(waiting))
        refused("device-failed", lambda: backend.prepare(of_lengths([5])))
    assert len(seen) == 1


def test_another_failure_of_torch_fails_the_batch_and_not_the_device(tiny: Path) -> None:
    backend = TorchBackend(tiny)
    with failing(backend, 0, lambda _: RuntimeError("could not create a primitive")):
        assert not refused("device-failed", lambda: embedded(backend, of_lengths([5]))).transient
    assert not refused("device-failed", lambda: embedded(backend, [Item("", [9999])])).transient
    assert embedded(backend, of_lengths([5])).shape == (1, 32)


def test_a_closed_backend_computes_nothing(tiny: Path) -> None:
    backend = TorchBackend(tiny)
    backend.close()
    refused("device-failed", lambda: backend.prepare(of_lengths([5])))
