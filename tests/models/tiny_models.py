"""Models of two layers with random weights, saved by sentence-transformers itself, for tests of models' own settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WORDS = ["the", "old", "mill", "wheel", "turns", "water", "into", "flour", "while", "rain", "falls", "on", "a", "long", "stone", "race"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"

Architecture = Literal["bert", "roberta", "modernbert", "qwen3", "mpnet"]
"""Learned positions; learned positions that start after the padding's; sliding windows; causal with grouped heads; position biases."""

VOCABULARY, HIDDEN = 200, 32


def write_tokenizer(folder: Path, limit: int = 48) -> None:
    """Write a WordPiece tokenizer of a few words and all letters."""
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
    tokenizer_class: Any = PreTrainedTokenizerFast  # untyped
    tokenizer_class(tokenizer_object=tokenizer, model_max_length=limit, **names).save_pretrained(folder)


def write_model(
    folder: Path,
    pooling: str | tuple[str, ...] = "mean",
    prompts: dict[str, str] | None = None,
    *,
    dense: int | None = None,
    heads: int = 4,
    positions: int = 64,
    limit: int = 48,
    architecture: Architecture = "bert",
    include_prompt: bool = True,
    seed: int = 3,
) -> Path:
    """Write a model, and return its folder. Vectors have 32 components, or `dense` with a dense layer. `limit` is in tokens."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

    torch.manual_seed(seed)
    plain = folder / "plain"
    _transformer(architecture, heads, positions).save_pretrained(plain)
    write_tokenizer(plain, limit)
    pool = Pooling(HIDDEN, pooling_mode=pooling, include_prompt=include_prompt)
    tail = [Dense(pool.get_embedding_dimension(), dense)] if dense else []
    model = SentenceTransformer(modules=[Transformer(str(plain)), pool, *tail], device="cpu", prompts=prompts)
    model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def _transformer(architecture: Architecture, heads: int, positions: int) -> PreTrainedModel:
    import transformers

    # larger weights than usual: with small ones all vectors are alike, and hide mistakes
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "intermediate_size": 64,
    }
    sizes |= {"max_position_embeddings": positions, "initializer_range": 0.2, "pad_token_id": 0}
    special: dict[str, Any] = {"bos_token_id": 2, "eos_token_id": 3}
    match architecture:
        case "bert":
            return transformers.BertModel(transformers.BertConfig(**sizes))
        case "roberta":
            return transformers.RobertaModel(transformers.RobertaConfig(**sizes, **special))
        case "mpnet":
            return transformers.MPNetModel(transformers.MPNetConfig(**sizes | {"pad_token_id": 1}, **special))
        case "modernbert":
            edges: dict[str, Any] = {"local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3}
            return transformers.ModernBertModel(transformers.ModernBertConfig(**sizes, **special, **edges))
        case "qwen3":
            grouped: dict[str, Any] = {"num_key_value_heads": heads // 2, "head_dim": HIDDEN // heads}
            return transformers.Qwen3Model(transformers.Qwen3Config(**sizes, **special, **grouped))


def write_cross_encoder(folder: Path, seed: int = 3) -> Path:
    """Write a cross-encoder with one score, and return its folder."""
    import torch
    import transformers

    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 64, "max_position_embeddings": 64, "initializer_range": 0.2, "pad_token_id": 0, "num_labels": 1}
    transformers.BertForSequenceClassification(transformers.BertConfig(**sizes)).save_pretrained(folder)
    write_tokenizer(folder)
    return folder
