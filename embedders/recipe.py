"""Tokenizer, prompts and token limit of a model: all that turning texts into input needs.

The recipe is read once from the model and cached, so that a start need not import torch or transformers, which takes longest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedders.backend import Item, Kind
from embedders.refusal import Refusal

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

_PROMPTS: Mapping[Kind, tuple[str, ...]] = {"query": ("query",), "passage": ("passage", "document", "corpus")}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Recipe:
    """How to turn texts into a model's input.

    `tokenizer` is a fast tokenizer as JSON that neither truncates nor pads. `max_tokens` limits the input, special tokens and prompt
    included. `dimension` is that of the vectors, 0 if unknown.
    """

    tokenizer: str
    max_tokens: int
    dimension: int
    prompts: dict[str, str]

    def items(self, texts: Sequence[str], kind: Kind) -> list[Item]:
        """Tokenize texts whole, made valid Unicode and with the kind's prompt in front."""
        prompt = self.prompt(kind)
        prompted = [prompt + valid(text) for text in texts]
        encodings = self._fast.encode_batch_fast(prompted)
        return [Item(text, encoding.ids) for text, encoding in zip(prompted, encodings, strict=True)]

    def count(self, texts: Sequence[str], kind: Kind) -> list[int]:
        """Count the tokens of each text, special tokens and the kind's prompt included, without truncating."""
        return [len(item.ids) for item in self.items(texts, kind)]

    def prompt(self, kind: Kind) -> str:
        """The model's prompt for this kind: the first name with a non-empty one, because models define empty defaults."""
        return next((prompt for name in _PROMPTS[kind] if (prompt := self.prompts.get(name))), "")

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        return cls(**json.loads(text))

    @cached_property
    def _fast(self) -> Tokenizer:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.tokenizer)


def valid(text: str) -> str:
    """Replace lone surrogates, which tokenizers reject, with U+FFFD."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def of_model(model: SentenceTransformer) -> Recipe:
    """Read the recipe from a loaded model."""
    from embedders.loading import limit

    prompts = {name: prompt for name, prompt in model.prompts.items() if prompt}
    return Recipe(_fast(model.tokenizer), limit(model), int(model.get_embedding_dimension() or 0), prompts)


def of_tokenizer(folder: Path) -> Recipe:
    """Read the recipe from a folder's tokenizer and settings, for use with an endpoint. Raises Refusal (`model-not-loadable`)."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise Refusal("model-not-loadable", f"transformers cannot load a tokenizer from {folder}: {type(error).__name__}") from error
    settings, prompts = _settings(folder / "sentence_bert_config.json"), _settings(folder / "config_sentence_transformers.json")
    limits = [settings.get("max_seq_length"), _settings(folder / "config.json").get("max_position_embeddings"), tokenizer.model_max_length]
    limit = min(int(limit) for limit in limits if limit)
    named = {name: prompt for name, prompt in (prompts.get("prompts") or {}).items() if prompt}
    return Recipe(_fast(tokenizer), limit, 0, named)


def _settings(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return found


def _fast(tokenizer: Any) -> str:
    """A copy of the fast tokenizer, as JSON, that neither truncates nor pads. The model's own is not modified."""
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        raise Refusal("model-not-loadable", "the model has no fast tokenizer")
    copy = Tokenizer.from_str(backend.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy.to_str()
