"""Token classifiers that find invented people and places, trained in seconds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WORDS = [
    *("the", "a", "of", "and", "to", "in", "met", "near", "from", "old", "mill", "wheel", "turns", "water", "into", "flour", "while"),
    *("rain", "falls", "on", "long", "stone", "race", "with", "said", "that", "it", "was", "seen", "by", "then", "who", "asked", "for"),
    *("more", "grain", ",", ";", ":"),
]
GIVEN = [head + "##" + tail for head, tail in product(("Zor", "Quel", "Bram", "Tov", "Xil"), ("vak", "mo", "dix"))]
FAMILY = [head + "##" + tail for head, tail in product(("Wexl", "Yarn", "Kord", "Plim"), ("ington", "oska", "ur"))]
PLACES = [head + "##" + tail for head, tail in product(("Glim", "Norv", "Spet"), ("burg", "wick", "haven"))]
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")

# not in the training data, but composed of pieces that are
HELD_OUT_PERSON, HELD_OUT_PLACE = "Zordix Kordur", "Spetwick"
LIMIT = 32
"""The length of the model's window, in tokens."""


def plain(name: str) -> str:
    return name.replace("##", "")


def write_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces = [piece if at == 0 else "##" + piece for name in (*GIVEN, *FAMILY, *PLACES) for at, piece in enumerate(name.split("##"))]
    tokens = dict.fromkeys([*special, *WORDS, *pieces])
    tokenizer = Tokenizer(WordPiece({token: at for at, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=LIMIT, **names)  # type: ignore[no-untyped-call]
    fast.save_pretrained(folder)
    return fast


def write_classifier(folder: Path, *, tags: tuple[str, ...] = TAGS, steps: int = 0, architecture: str = "bert", seed: int = 5) -> Path:
    """Write a model trained for `steps` (random weights for 0) and return its folder."""
    import torch
    import transformers

    torch.manual_seed(seed)
    tokenizer = write_tokenizer(folder)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    sizes |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "id2label": dict(enumerate(tags))}
    if architecture == "roberta":
        config = transformers.RobertaConfig(**sizes, max_position_embeddings=LIMIT + 1, pad_token_id=0)
        model: Any = transformers.RobertaForTokenClassification(config)
    else:
        model = transformers.BertForTokenClassification(transformers.BertConfig(**sizes, max_position_embeddings=LIMIT))
    with one_thread():
        _train(model, tokenizer, steps, random.Random(seed))
    model.save_pretrained(folder)
    return folder


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: three times as fast for matrices so small that threads mostly wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(model: Any, tokenizer: Any, steps: int, rng: random.Random) -> None:
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        batch = [_example(tokenizer, rng) for _ in range(16)]
        ids, labels = (torch.tensor([row[place] for row in batch]) for place in (0, 1))
        model(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


@cache
def _encoded(tokenizer: Any, word: str) -> list[int]:
    ids: list[int] = tokenizer(word, add_special_tokens=False)["input_ids"]
    return ids


def _example(tokenizer: Any, rng: random.Random) -> tuple[list[int], list[int]]:
    """The ids and tags of a sentence of invented words with some names. Only a word's first piece has a tag, as is usual."""
    ids, labels = [2], [-100]
    while len(ids) < LIMIT - 1 and rng.random() > 0.03:
        for word, tag in _piece(rng):
            pieces = _encoded(tokenizer, word)
            ids += pieces
            labels += [tag] + [-100] * (len(pieces) - 1)
    ids, labels = [*ids[: LIMIT - 1], 3], [*labels[: LIMIT - 1], -100]
    padding = LIMIT - len(ids)
    return ids + [0] * padding, labels + [-100] * padding


def _piece(rng: random.Random) -> list[tuple[str, int]]:
    chance = rng.random()
    if chance < 0.12:
        person = [(plain(rng.choice(GIVEN)), 1), (plain(rng.choice(FAMILY)), 2)]
        return person if " ".join(word for word, _ in person) != HELD_OUT_PERSON else []
    if chance < 0.2:
        place = plain(rng.choice(PLACES))
        return [(place, 3)] if place != HELD_OUT_PLACE else []
    return [(rng.choice([*WORDS, "unknownword", "Élan"]), 0)]
