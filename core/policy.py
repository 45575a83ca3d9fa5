"""Settings that a tenant may override: how documents are read, chunked and embedded, what is personal data, how long data is kept, what is
alike, and when search has become worse.

Each section stands in `headrace.toml` for every tenant; a tenant's configuration overrides it key by key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator

from core.errors import PolicyError
from core.expressions import EntityName, Expression
from core.records import Signals
from core.section import Section, explain, meant


def _texts(values: Any) -> Any:
    """A list of texts that may be personal: an error message shows none of them."""
    if not isinstance(values, list | tuple) or not all(isinstance(value, SecretStr | str) and _plain(value).strip() for value in values):
        raise ValueError("must be a list of texts, none of them empty")
    if len(values) > 10_000:
        raise ValueError(f"at most 10000 values, was: {len(values)} of them")
    return tuple(values)


def _plain(value: SecretStr | str) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


Share = Annotated[float, Field(ge=0, le=1)]
Days = Annotated[int, Field(ge=1, le=36_500)]
ValueList = Annotated[tuple[SecretStr, ...], BeforeValidator(_texts)]
Action = Literal["surrogate", "mask", "drop", "keep", "quarantine"]
Strategy = Literal["structure", "recursive", "fixed", "table", "code", "hierarchical", "semantic"]
FormatName = Literal[
    "html",
    "markdown",
    "restructured",
    "asciidoc",
    "latex",
    "text",
    "code",
    "csv",
    "json",
    "jsonl",
    "xml",
    "vtt",
    "srt",
    "email",
    "outlook",
    "mhtml",
    "jats",
    "docx",
    "pptx",
    "xlsx",
    "odt",
    "ods",
    "odp",
    "epub",
    "doc",
    "ppt",
    "xls",
    "pdf",
    "image",
    "zip",
    "tar",
    "compressed",
]
Language = Literal["en", "de", "fr", "es", "it", "nl", "pl", "ro", "cs", "pt", "sv"]


class Privacy(Section):
    """A shipped profile and its overrides. `privacy.profiles` says what each profile looks for.

    `names_model` is a folder, an installed package or a name on the hub (privacy/models); `en_core_web_sm` is the wheel's.
    `actions` and `thresholds` (0-1) are by entity.
    `allow`: values that are never redacted; `deny`: values that always are; no message, fingerprint or representation
    shows either. `languages`: whose national numbers are looked for; empty means all. `most_residual`: the share of passages that may
    still hold personal data before the check `residual_pii` blocks the stages below (quality/residual/check.py); it changes no redaction.
    """

    profile: Literal["patterns", "names", "strict", "health", "payments"] = "patterns"
    names_model: str | None = None
    actions: dict[EntityName, Action] = Field(default_factory=dict)
    thresholds: dict[EntityName, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    allow: ValueList = ()
    deny: ValueList = ()
    expressions: Annotated[tuple[Expression, ...], Field(max_length=100)] = ()
    languages: tuple[Language, ...] = ()
    most_residual: dict[Literal["identifiers", "names"], Share] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_need_a_model(self) -> Privacy:
        if self.profile in ("names", "strict", "health") and not self.names_model:
            raise ValueError(f"profile {self.profile!r} needs names_model; without a model only 'patterns' and 'payments' can run")
        return self


class Reading(Section):
    """How a document is read, and how readable it must be.

    `pdf`: `text` is fastest, `layout` finds headings, columns and tables by geometry, `model` by docling's own models.
    The others are shares of words, characters and pages, and a mean confidence: a document beyond them is quarantined (parsers/signals.py).
    """

    pdf: Literal["text", "layout", "model"] = "layout"
    least_wordlike: Share = 0.75
    most_replaced: Share = 0.01
    most_empty_pages: Share = 0.8
    least_ocr_confidence: Share = 0.5

    def beyond(self, measured: Signals) -> list[str]:
        """The names of a document's signals that are beyond these thresholds. A document without text is empty, not badly read."""
        if not measured.characters:
            return []
        confidence = measured.ocr_confidence
        judged = {
            "replaced": measured.replaced > self.most_replaced * measured.characters,
            "wordlike": measured.wordlike is not None and measured.wordlike < self.least_wordlike,
            "ocr_confidence": confidence is not None and confidence < self.least_ocr_confidence,
            "empty_pages": measured.empty_pages > self.most_empty_pages * measured.pages,
        }
        return [name for name, is_beyond in judged.items() if is_beyond]


class Chunking(Section):
    """How documents are split into chunks: `chunkers.strategies`.

    `max_tokens`: of a chunk, in the embedding model's tokens; above the model's own limit it is refused when the model is loaded.
    `formats`: strategies for documents of some formats; every other one has `strategy`. `overlap`: how many tokens two neighbouring chunks
    have in common under `fixed` and `recursive`.
    """

    max_tokens: Annotated[int, Field(ge=32, le=8192)] = 256
    strategy: Strategy = "structure"
    formats: dict[FormatName, Strategy] = Field(default_factory=dict)
    overlap: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _less_than_half_is_overlap(self) -> Chunking:
        if self.overlap >= self.max_tokens / 2:
            raise ValueError(f"overlap must be less than half of max_tokens, {self.max_tokens}, was: {self.overlap}")
        if self.overlap and not {"fixed", "recursive"} & {self.strategy, *self.formats.values()}:
            raise ValueError(f"overlap is for the strategies fixed and recursive, was: {self.overlap} for {self.strategy}")
        return self


class EmbeddingModel(Section):
    """Which model embeds: a sentence-transformers name or path, or `minilm`, the wheel's all-MiniLM-L6-v2; one of its revisions; and to how
    many dimensions its vectors are cut. What computes it is the installation's: `core.config.sections`."""

    model: str = "minilm"
    revision: str | None = None
    dimension: Annotated[int, Field(ge=1, le=16_000)] | None = None


class Retention(Section):
    """After how many days each class of data is deleted; without a number it is kept. The classes: `pipelines.governance.retention`.

    `standby_days`: how long the former index is kept after `headrace reindex` switched to another one.
    `legal_hold`: nothing is deleted by retention, and nothing is erased.
    """

    landed_days: Days | None = None
    parsed_days: Days | None = None
    embeddings_days: Days | None = None
    events_days: Days | None = None
    dead_letters_days: Days | None = None
    standby_days: Days = 7
    legal_hold: bool = False

    # not for legal_hold, which is true or false
    _each = field_validator(
        "landed_days", "parsed_days", "embeddings_days", "events_days", "dead_letters_days", "standby_days", mode="before"
    )(meant)


class NearDuplicates(Section):
    """Which passages are near-duplicates, and what a search does with boilerplate (index/near_duplicates.py, retrieval/collapse.py).

    `threshold`: of the exact Jaccard similarity of their shingles; below .5, MinHash bands find less than half of them.
    """

    threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.7
    boilerplate: Literal["mark", "down-weight", "leave-out"] = "mark"


class Evaluation(Section):
    """When search has become worse: `headrace evaluate --keep` keeps what a tenant's judged queries reach.

    `most_ndcg_loss`: of their mean nDCG@10, before the check `retrieval_quality` fails and a reindex is refused.
    """

    most_ndcg_loss: Share = 0.02


class Policy(Section):
    """The sections that a tenant may override, key by key."""

    reading: Reading = Reading()
    embedding: EmbeddingModel = EmbeddingModel()
    chunking: Chunking = Chunking()
    privacy: Privacy = Privacy()
    retention: Retention = Retention()
    near_duplicates: NearDuplicates = NearDuplicates()
    evaluation: Evaluation = Evaluation()


def overlaid(settings: Policy, configuration: Mapping[str, Any]) -> Policy:
    """A tenant's policy: its configuration over `settings`. Raises PolicyError."""
    own = {name: getattr(settings, name).model_dump() | _section(name, configuration) for name in Policy.model_fields}
    try:
        return Policy.model_validate(own)
    except ValidationError as error:
        raise PolicyError(explain(error)) from None


def _section(name: str, configuration: Mapping[str, Any]) -> dict[str, Any]:
    section = configuration.get(name, {})
    if not isinstance(section, dict):
        raise PolicyError(f"{name}: is a section with keys of its own, was: of type {type(section).__name__}")
    return section
