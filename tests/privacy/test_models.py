"""Names models of transformers and GLiNER: located, loaded or refused, read in windows and batches, and used for redaction."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core import records
from core.config import Settings
from core.errors import ConfigurationError, PolicyError, Unavailable
from core.policy import Privacy
from core.records import Block, Content, Envelope, Redacted
from pipelines.models import Models
from privacy import Redactor, new_data_key, redact, redact_text, surrogate, tenant_keys
from privacy.finders import names
from privacy.finders.context import Text
from privacy.finders.names import Names
from privacy.models import Span, device, find, kind_of, loaded
from privacy.models.gliner_model import GlinerReader
from privacy.models.labels import ENTITIES, begins, meaning
from privacy.models.tags import Tags, Word, words
from privacy.models.transformer import TransformerReader
from privacy.models.windows import batches, windows
from tests.models.name_models import HELD_OUT_PERSON, HELD_OUT_PLACE, LIMIT, TAGS, WORDS, one_thread, write_classifier, write_tokenizer
from tests.privacy.test_stage import parsed
from tests.privacy.test_values import MASTER

pytestmark = pytest.mark.slow

NO_SERVERS: Any = None
KEYS = tenant_keys(MASTER, "acme", new_data_key(MASTER, "acme"))


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained classifier. Its names are in none of our lists, and the held-out names in none of its training sentences."""
    return write_classifier(tmp_path_factory.mktemp("models") / "trained", steps=100)


@pytest.fixture(scope="module")
def redactor(folder: Path) -> Redactor:
    return Redactor(named(folder))


@pytest.fixture(scope="module")
def reader(folder: Path) -> TransformerReader:
    return TransformerReader(find(str(folder)), "cpu")


@pytest.fixture(scope="module")
def batching(folder: Path) -> TransformerReader:
    """Computes in fixed shapes as on CUDA, but on the CPU."""
    return TransformerReader(find(str(folder)), "cpu", together=True)


def named(model: object, **changes: object) -> Privacy:
    return Privacy.model_validate({"profile": "names", "names_model": str(model)} | changes)


def copied(folder: Path, target: Path, **config: object) -> Path:
    """A copy of the model with changes in its `config.json`."""
    shutil.copytree(folder, target)
    stated = json.loads((target / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps(stated))
    return target


# --- redaction


def test_a_person_and_a_place_outside_of_the_training_data_are_replaced(redactor: Redactor) -> None:
    text = redact_text(f"it was {HELD_OUT_PERSON} of {HELD_OUT_PLACE} , who asked for more grain", redactor, KEYS)
    person, place = surrogate("PERSON", HELD_OUT_PERSON, KEYS), surrogate("LOCATION", HELD_OUT_PLACE, KEYS)
    assert text == f"it was {person} of {place} , who asked for more grain"


def test_an_untrained_model_gives_another_result(tmp_path: Path, redactor: Redactor) -> None:
    sentence = f"it was {HELD_OUT_PERSON} , who asked"
    untrained = redact_text(sentence, Redactor(named(write_classifier(tmp_path))), KEYS)
    assert untrained != redact_text(sentence, redactor, KEYS)


def test_spans_are_trimmed_as_those_of_spacy(redactor: Redactor) -> None:
    """A line break inside a name, a possessive's s, a name in a URL."""
    person = surrogate("PERSON", HELD_OUT_PERSON, KEYS)
    assert redact_text("with Zordix\nKordur's mill", redactor, KEYS) == f"with {person}'s mill"
    assert redact_text(f"see https://mill.example/{HELD_OUT_PLACE}/x", redactor, KEYS) == f"see https://mill.example/{HELD_OUT_PLACE}/x"


def test_allowed_values_and_thresholds_apply_to_its_names(folder: Path) -> None:
    sentence = f"met {HELD_OUT_PERSON} in {HELD_OUT_PLACE}"
    allowing = Redactor(named(folder, allow=[HELD_OUT_PERSON], thresholds={"LOCATION": 1}))
    assert redact_text(sentence, allowing, KEYS) == sentence


def test_a_name_is_replaced_in_every_field_of_a_document(redactor: Redactor) -> None:
    block = Block("table", rows=(("mill", "grain"), ("near", f"from {HELD_OUT_PERSON}")))
    content = Content((Block("paragraph", text=f"said {HELD_OUT_PERSON} ."), block), title=f"with {HELD_OUT_PERSON}")
    payload = redact(parsed((Envelope("id", "crm"), content)), redactor, KEYS)["payload"][0]
    assert HELD_OUT_PERSON.encode() not in payload
    assert records.decode(payload, Redacted).found == {"PERSON": 3}


FILLERS = st.sampled_from([*WORDS, "élan", "\U0001f33e", "e\u0301", "unknownword", "-", "\ufffc", "\u4e2d\u6587"])


@settings(max_examples=25)
@given(st.lists(FILLERS, max_size=120), st.lists(FILLERS, max_size=120))
def test_a_name_anywhere_in_a_long_text_is_found_at_its_exact_characters(
    reader: TransformerReader, before: list[str], after: list[str]
) -> None:
    text = " ".join([*before, HELD_OUT_PERSON, *after])
    start = len(" ".join([*before, ""]))
    found = [(span.start, span.end, span.label) for span in reader.read([text])[0]]
    assert found == [(start, start + len(HELD_OUT_PERSON), "PERSON")]


@settings(max_examples=10)
@given(st.lists(st.lists(st.one_of(FILLERS, st.just(HELD_OUT_PERSON), st.just(HELD_OUT_PLACE)), max_size=60).map(" ".join), max_size=6))
def test_a_texts_names_do_not_depend_on_the_other_texts_of_a_batch(
    reader: TransformerReader, batching: TransformerReader, texts: list[str]
) -> None:
    batched, single = batching.read(texts), reader.read(texts)
    assert [[span[:3] for span in spans] for spans in batched] == [[span[:3] for span in spans] for spans in single]
    for one, other in zip(chain(*batched), chain(*single), strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4)


def test_a_rows_result_is_the_same_in_batches_of_full_and_of_shorter_rows(batching: TransformerReader) -> None:
    """If every row is full, transformers drops the mask, and kernels chosen by it add up in another order."""
    full, short = [2, *range(4, LIMIT + 2), 3], [2, 5, 6, 3]
    assert batching._model.config._attn_implementation == "eager"
    first, second = (batching._batch([full, other], 2, LIMIT)[0] for other in (full, short))
    assert torch.equal(first, second)


def test_a_text_of_any_characters_is_read(reader: TransformerReader) -> None:
    assert reader.read(["", " ", "\ufffd\ufffc\x00", "\u202e" * 100]) == [[], [], [], []]


def test_reading_ahead_gives_the_same_names_as_reading_one_by_one(
    folder: Path, batching: TransformerReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "loaded", lambda found: batching)
    texts = [f"it was {HELD_OUT_PERSON} .", "the old mill turns", f"near {HELD_OUT_PLACE}"]
    ahead, plain = Names(str(folder), ["PERSON", "LOCATION"]), Names(str(folder), ["PERSON", "LOCATION"])
    ahead.read_ahead(texts)
    calls: list[int] = []
    monkeypatch.setattr(batching, "_forward", lambda rows: calls.append(len(rows)))
    found = [list(ahead.find(Text(text))) for text in texts]
    assert calls == []
    monkeypatch.undo()
    assert found == [list(plain.find(Text(text))) for text in texts]


def test_no_more_is_read_ahead_than_fits_into_the_cache(folder: Path, batching: TransformerReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "loaded", lambda found: batching)
    monkeypatch.setattr(names, "_CHARACTERS", 40)
    shown: list[int] = []
    read = batching.read

    def counted(texts: Sequence[str]) -> list[list[Span]]:
        shown.append(sum(map(len, texts)))
        return read(texts)

    monkeypatch.setattr(batching, "read", counted)
    Names(str(folder), ["PERSON"]).read_ahead(["the old mill turns", "rain falls on it", "grain to flour"])
    assert shown == [len("the old mill turns") + len("rain falls on it")]


@pytest.mark.parametrize("place", range(19_983, 20_001, 3))
def test_a_name_at_the_cut_of_a_very_long_sentence_is_found_whole(place: int, redactor: Redactor) -> None:
    before = ("mill " * 4_001)[:place].rpartition(" ")[0].ljust(place - 1, "l") + " "
    found = redactor.detect(f"{before}{HELD_OUT_PERSON} {'mill ' * 50}")
    assert [(each.start, each.end, each.entity) for each in found] == [(place, place + len(HELD_OUT_PERSON), "PERSON")]


# --- windows, batches, tags


@given(st.integers(0, 2000), st.integers(1, 600))
def test_windows_overlap_by_a_quarter_and_each_token_counts_once(count: int, size: int) -> None:
    cut = windows(count, size)
    assert [token for window in cut for token in range(window.own_start, window.own_end)] == list(range(count))
    for window in cut:
        assert window.start <= window.own_start <= window.own_end <= window.end <= count
        assert window.end - window.start == min(count, size)
        assert window.own_start - window.start >= size // 8 or window.own_start == 0
        assert window.end - window.own_end >= size // 8 or window.own_end == count


@given(st.lists(st.integers(1, 512), max_size=300), st.integers(300, 512))
def test_a_batchs_shape_follows_from_each_rows_own_length(lengths: list[int], limit: int) -> None:
    lengths = [min(length, limit) for length in lengths]
    shapes = {}
    for rows, width, indices in batches(lengths, limit):
        assert 0 < len(indices) <= rows
        for index in indices:
            assert index not in shapes
            shapes[index] = (rows, width)
            assert lengths[index] <= width <= limit
            assert next(iter(batches([lengths[index]], limit)))[:2] == (rows, width)
    assert sorted(shapes) == list(range(len(lengths)))


@pytest.mark.parametrize(
    ("label", "entity"),
    [
        ("B-PER", "PERSON"),
        ("I-GIVEN_NAME", "PERSON"),
        ("persName", "PERSON"),
        ("GPE", "LOCATION"),
        ("B-LOC", "LOCATION"),
        ("S-ORG", "ORGANIZATION"),
        ("O", None),
        ("B-MISC", None),
        ("LABEL_1", None),
        ("DATE", None),
    ],
)
def test_a_label_means_an_entity_or_nothing(label: str, entity: str | None) -> None:
    assert meaning(label) == entity


def test_a_span_ends_where_another_of_its_kind_begins_and_not_between_name_and_surname() -> None:
    labels = ["O", "B-GIVENNAME", "B-SURNAME", "I-SURNAME"]
    assert [begins(label) for label in labels] == [False, True, True, False]
    tagged = torch.eye(4)[[1, 2, 1, 2, 3, 0]].numpy()
    found = Tags(dict(enumerate(labels))).spans([Word(at * 5, at * 5 + 4, at) for at in range(6)], tagged)
    assert [(span.start, span.end) for span in found] == [(0, 9), (10, 24)]


def test_the_probabilities_of_a_persons_tags_are_added_up() -> None:
    tags, probabilities = Tags(dict(enumerate(TAGS))), torch.tensor([[0.4, 0.3, 0.25, 0.03, 0.02]]).numpy()
    (span,) = tags.spans([Word(0, 3, 0)], probabilities)
    assert span.label == "PERSON"
    assert span.score == pytest.approx(0.55)


def test_words_end_at_spaces_even_if_the_tokenizer_reports_one_word() -> None:
    offsets = [(0, 0), (0, 3), (3, 7), (7, 8), (8, 10), (10, 10)]
    assert words("Ada met  B!", offsets, [None, 0, 0, 0, 0, None]) == [Word(0, 3, 1), Word(4, 7, 2), Word(9, 10, 4)]


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_a_window_is_no_longer_than_the_model_has_positions(architecture: str, tmp_path: Path) -> None:
    reader = TransformerReader(find(str(write_classifier(tmp_path, architecture=architecture))), "cpu")
    assert reader._limit == LIMIT
    assert len(reader.read([" ".join(["mill"] * 200)])) == 1


def test_a_document_is_read_ahead_and_the_second_pass_reads_only_changed_sentences(
    folder: Path, batching: TransformerReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "loaded", lambda found: batching)
    calls: list[int] = []
    forward = batching._forward

    def counted(rows: list[list[int]]) -> list[Any]:
        calls.append(len(rows))
        return forward(rows)

    monkeypatch.setattr(batching, "_forward", counted)
    rows = (("Mill", "Grain"), ("Near", f"From {HELD_OUT_PLACE}"))
    blocks = (Block("paragraph", text=f"It was {HELD_OUT_PERSON} ."), Block("paragraph", text="rain falls on"), Block("table", rows=rows))
    payload = redact(parsed((Envelope("id", "crm"), Content(blocks))), Redactor(named(folder)), KEYS)["payload"][0]
    assert records.decode(payload, Redacted).found == {"PERSON": 1, "LOCATION": 1}
    assert calls[0] > 3
    assert calls[1:] == [1, 1]


# --- devices


def test_it_computes_on_cuda_if_available(reader: TransformerReader, folder: Path) -> None:
    assert device.chosen() == ("cuda" if torch.cuda.is_available() else "cpu")
    assert TransformerReader(find(str(folder))).together == torch.cuda.is_available()
    assert not reader.together
    assert {parameter.dtype for parameter in reader._model.parameters()} == {torch.float32}


def test_half_precision_finds_the_same_names(folder: Path) -> None:
    half = TransformerReader(find(str(folder)), "cpu")
    sentence = f"it was {HELD_OUT_PERSON} of {HELD_OUT_PLACE}"
    exact = half.read([sentence])
    half._dtype = device.lowered(half._model, "cpu", lambda: half._batch([[2, 5, 6, 7, 3]], 1, 5))
    assert half._dtype is torch.float16
    assert {module.weight.dtype for module in half._model.modules() if isinstance(module, torch.nn.Linear)} == {torch.float16}
    assert [span[:3] for span in half.read([sentence])[0]] == [span[:3] for span in exact[0]]


@pytest.mark.parametrize(("scale", "expected"), [(1e5, torch.bfloat16), (0.1, torch.float16)])
def test_a_model_whose_numbers_exceed_f16_computes_in_another_precision(scale: float, expected: torch.dtype) -> None:
    layer = torch.nn.Linear(4, 2, bias=False)
    layer.weight.data = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]]) * scale
    given = torch.tensor([[8.0, 2, 1, 1]])
    assert device.lowered(layer, "cpu", lambda: layer(given).detach().float() / scale / 10) is expected


def test_a_failing_device_is_unavailable_and_fails_no_document() -> None:
    with pytest.raises(Unavailable, match="OutOfMemoryError"), device.device_errors("cuda"):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="a bug"), device.device_errors("cpu"):
        raise RuntimeError("a bug")


# --- located and refused


def test_a_model_is_found_by_folder_by_package_and_by_name_on_the_hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redactor: Redactor
) -> None:
    (tmp_path / "site" / "headrace_tiny_names").mkdir(parents=True)
    (tmp_path / "site" / "headrace_tiny_names" / "__init__.py").touch()
    shutil.copytree(folder, tmp_path / "site" / "headrace_tiny_names" / "model-1.0")
    monkeypatch.syspath_prepend(tmp_path / "site")
    in_cache(folder, tmp_path / "hub", "acme/names", monkeypatch)
    digests = {find(model).digest for model in (str(folder), "headrace_tiny_names", "acme/names", "acme/names@main")}
    assert len(digests) == 1
    assert kind_of("acme/names") == "transformers"
    again = Redactor(named("acme/names"))
    assert redact_text(f"near {HELD_OUT_PLACE}", again, KEYS) == redact_text(f"near {HELD_OUT_PLACE}", redactor, KEYS)


def in_cache(folder: Path, cache: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the model into huggingface_hub's cache, with the hub offline."""
    from huggingface_hub import constants

    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def test_a_hub_model_that_is_not_on_disk_is_refused_if_the_hub_is_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"neither on disk nor can the hub be reached.*acme/none"):
        Redactor(named("acme/none"))


def test_the_fingerprint_depends_on_the_weights_and_the_tokenizer(folder: Path, tmp_path: Path, redactor: Redactor) -> None:
    other = write_classifier(tmp_path / "m", seed=6)
    prints = [redactor.fingerprint, Redactor(named(other)).fingerprint]
    settings = other / "tokenizer_config.json"
    settings.write_text(settings.read_text() + " ")
    prints.append(Redactor(named(other)).fingerprint)
    write_classifier(other, seed=7)
    prints.append(Redactor(named(other)).fingerprint)
    (other / "README.md").write_text("says nothing of results")
    assert len(set(prints)) == 4
    assert Redactor(named(other)).fingerprint == prints[-1]
    assert Redactor(named(folder)).fingerprint == prints[0]


def test_the_fingerprint_does_not_depend_on_the_models_path(folder: Path, tmp_path: Path, redactor: Redactor) -> None:
    assert Redactor(named(shutil.copytree(folder, tmp_path / "elsewhere"))).fingerprint == redactor.fingerprint


def test_a_model_without_labels_for_names_is_refused(folder: Path, tmp_path: Path) -> None:
    model = copied(folder, tmp_path / "m", id2label={str(at): f"LABEL_{at}" for at in range(5)}, label2id={})
    with pytest.raises(ConfigurationError, match="neither people nor places"):
        Redactor(named(model))


def test_a_model_that_classifies_no_tokens_is_refused(folder: Path, tmp_path: Path) -> None:
    model = copied(folder, tmp_path / "m", architectures=["BertForSequenceClassification"])
    with pytest.raises(ConfigurationError, match="neither a spaCy, a GLiNER nor a token-classification model"):
        Redactor(named(model))


def test_pickled_weights_are_not_loaded(folder: Path, tmp_path: Path) -> None:
    model = copied(folder, tmp_path / "m")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match="safetensors"):
        Redactor(named(model))


def test_a_models_own_code_is_not_run(folder: Path, tmp_path: Path) -> None:
    model = copied(
        folder, tmp_path / "m", model_type="own", auto_map={"AutoConfig": "own.Own", "AutoModelForTokenClassification": "own.Model"}
    )
    (model / "own.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        Redactor(named(model))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_broken_model_is_refused(broken: str, folder: Path, tmp_path: Path) -> None:
    model = copied(folder, tmp_path / "m")
    cut = (model / broken).read_bytes()
    (model / broken).write_bytes(b'{"architectures": ["BertForTokenClassification"]' if broken == "config.json" else cut[: len(cut) // 2])
    with pytest.raises(ConfigurationError, match="names_model"):
        Redactor(named(model))


def test_loading_prints_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    TransformerReader(find(str(folder)), "cpu").read(["the old mill " * 100])
    assert capfd.readouterr() == ("", "")


def test_the_graph_ignores_a_model_other_than_spacys_and_a_tenants_bad_model_fails_only_that_tenant(folder: Path, tmp_path: Path) -> None:
    with Models(Settings(data_dir=tmp_path / "data", privacy=named(folder)), NO_SERVERS) as models:
        assert "names" not in [extractor.name for extractor in models.extractors]
        assert "transformers" in models.redactor(named(folder)).fingerprint
        with pytest.raises(PolicyError, match="names_model"):
            models.redactor(named(tmp_path))
    with Models(Settings(data_dir=tmp_path / "data", privacy=named(tmp_path)), NO_SERVERS) as models, pytest.raises(ConfigurationError):
        models.redactor(named(tmp_path))


# --- GLiNER


def tiny_gliner(folder: Path) -> Path:
    """A model with random weights in gliner's own format: every span scores about 0.5."""
    torch.manual_seed(5)
    gliner = pytest.importorskip("gliner", reason="docs/privacy.md says how gliner is installed, and why it is no extra")
    from transformers import BertConfig, BertModel

    encoder = folder / "encoder"
    tokenizer = write_tokenizer(encoder)
    tokenizer.model_max_length = 256
    tokenizer.save_pretrained(encoder)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    config = BertConfig(**sizes, max_position_embeddings=256)
    BertModel(config).save_pretrained(encoder)
    settings = {"model_name": str(encoder), "encoder_config": config.to_dict(), "max_len": 16, "hidden_size": 32, "dropout": 0.0}
    gliner.GLiNER.from_config(settings).eval().save_pretrained(folder / "model", safe_serialization=True)
    return folder / "model"


@pytest.fixture(scope="module")
def gliner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gliner(tmp_path_factory.mktemp("gliner"))


@settings(max_examples=10)
@given(st.lists(st.one_of(FILLERS, st.just(HELD_OUT_PERSON)), max_size=60).map(" ".join))
def test_gliners_spans_cover_words_inside_the_text_without_overlaps(gliner_folder: Path, text: str) -> None:
    (spans,) = loaded(find(str(gliner_folder))).read([text])
    assert all(one.end <= other.start for one, other in pairwise(spans))
    for span in spans:
        assert span.label in ENTITIES
        assert 0 < span.score < 1
        assert text[span.start : span.end] == text[span.start : span.end].strip() != ""


def test_gliner_gives_each_of_many_texts_its_own_spans(gliner_folder: Path) -> None:
    reader = loaded(find(str(gliner_folder)))
    texts = [" ".join(WORDS), "", HELD_OUT_PERSON, " ".join([*WORDS, *WORDS, HELD_OUT_PLACE]), "near"]
    assert reader.read(texts) == [reader.read([text])[0] for text in texts]


def test_a_gliner_model_redacts_a_text(gliner_folder: Path) -> None:
    redactor = Redactor(named(gliner_folder, profile="strict", thresholds=dict.fromkeys(ENTITIES, 0.1)))
    text, found = redactor.replace(" ".join(["near", HELD_OUT_PERSON, *WORDS]), KEYS)
    assert found.keys() & set(ENTITIES)
    assert redact_text(text, redactor, KEYS) == text
    assert "gliner" in redactor.fingerprint


@settings(max_examples=10)
@given(
    st.lists(st.one_of(st.just(HELD_OUT_PERSON), st.just("Zor" + "vak" * 30), st.just("\u78e8" * 400), FILLERS), max_size=60).map(" ".join)
)
def test_gliner_reads_every_token_of_every_window(gliner_folder: Path, text: str) -> None:
    """A hash or a Chinese clause is one word and tens of tokens, and gliner drops tokens beyond the tokenizer's limit."""
    reader = loaded(find(str(gliner_folder)))
    assert isinstance(reader, GlinerReader)
    limit, covered = reader._tokenizer.model_max_length, 0
    for start, end, own_start, own_end in reader._windows(text):
        pieces = [piece for piece, _, _ in reader._words(text[start:end])]
        inputs, _ = reader._model.data_processor.prepare_inputs([pieces], ["person", "location", "organization"])
        assert len(reader._tokenizer(inputs[0], is_split_into_words=True, truncation=False)["input_ids"]) <= limit
        assert text[covered:own_start].strip() == ""
        covered = own_end
    assert text[covered:].strip() == ""


def test_gliner_reads_a_name_after_words_of_many_tokens(gliner_folder: Path) -> None:
    before = " ".join(["Zor" + "vak" * 30] * 14) + " "
    (spans,) = loaded(find(str(gliner_folder))).read([before + HELD_OUT_PERSON])
    assert any(span.start >= len(before) for span in spans)


EVIL = {"auto_map": {"AutoModel": "acme/evil--own.Model"}}


@pytest.mark.parametrize(
    ("changed", "spelling", "problem"),
    [
        ({"encoder_config": None}, "auto_map", "lacks its encoder"),
        ({"encoder_config": EVIL}, "auto_map", "code of its own"),
        ({"encoder_config": EVIL}, r"auto\u005fmap", "code of its own"),
        ({"encoder_config": {"deeper": [EVIL]}}, r"\u0061uto_map", "code of its own"),
        ({"labels_encoder": "acme/labels"}, "auto_map", "more than one encoder"),
        ({"max_len": "many"}, "auto_map", "cannot be loaded"),
    ],
)
def test_a_gliner_folder_that_needs_more_than_its_files_is_refused(
    changed: dict[str, object], spelling: str, problem: str, gliner_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(gliner_folder, tmp_path / "m")
    config = tmp_path / "m" / "gliner_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changed).replace("auto_map", spelling))
    with pytest.raises(ConfigurationError, match=problem):
        Redactor(named(tmp_path / "m"))


@pytest.mark.parametrize(
    ("file", "problem"), [("tokenizer_config.json", "lacks its encoder"), ("model.safetensors", r"has no model\.safetensors")]
)
def test_a_gliner_folder_without_its_own_files_is_refused(file: str, problem: str, gliner_folder: Path, tmp_path: Path) -> None:
    """gliner loads neither a file of the same name in a subfolder nor weights of another name."""
    shutil.copytree(gliner_folder, tmp_path / "m")
    (tmp_path / "m" / "deeper").mkdir()
    shutil.copy(tmp_path / "m" / file, tmp_path / "m" / "other.safetensors")
    (tmp_path / "m" / file).rename(tmp_path / "m" / "deeper" / file)
    with pytest.raises(ConfigurationError, match=problem):
        Redactor(named(tmp_path / "m"))


@pytest.mark.parametrize("broken", ["gliner_config.json", "tokenizer_config.json", "model.safetensors"])
def test_a_broken_gliner_model_is_refused(broken: str, gliner_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(gliner_folder, tmp_path / "m")
    (tmp_path / "m" / broken).write_bytes((gliner_folder / broken).read_bytes()[:20])
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        Redactor(named(tmp_path / "m"))


@pytest.mark.skipif(find_spec("gliner") is not None, reason="gliner is installed")
def test_a_gliner_folder_is_refused_with_the_package_to_install(tmp_path: Path) -> None:
    (tmp_path / "gliner_config.json").write_text("{}")
    assert kind_of(str(tmp_path)) == "gliner"
    with pytest.raises(ConfigurationError, match="package gliner is not installed"):
        Redactor(named(tmp_path))


# --- a policy with mappings


def test_equal_policies_have_equal_hashes_and_different_ones_differ() -> None:
    one = Privacy.model_validate({"actions": {"URL": "drop", "IP": "keep"}, "thresholds": {"IP": 0.5}, "deny": ["x"]})
    same = Privacy.model_validate({"actions": {"IP": "keep", "URL": "drop"}, "thresholds": {"IP": 0.5}, "deny": ["x"]})
    others = [one.model_copy(update={"thresholds": {"IP": 0.6}}), one.model_copy(update={"languages": ("de",)}), Privacy()]
    assert one == same
    assert len({one, same, *others}) == 4
    assert len({hash(one), *map(hash, others)}) == 4
