"""bge-small: a graph's weights by name, the folder they are written to, and the published model from Maven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedders
from embedders import EmbedderOptions, Refusal, bge_small
from embedders.conversion import openvino
from tests.models.tiny_models import VOCABULARY, write_tokenizer


def test_a_weight_without_a_name_is_found_behind_its_bias_and_turned() -> None:
    opset = openvino().opset13
    given = opset.parameter([-1, 3], np.float32, name="x")
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    product = opset.matmul(given, opset.constant(weight, name="onnx::MatMul_7"), False, False)
    bias = opset.constant(np.ones(2, np.float32), name="encoder.layer.0.output.dense.bias")
    scale = opset.constant(np.full(2, 3, np.float32), name="embeddings.LayerNorm.weight")
    shift = opset.constant(np.full(2, 4, np.float32), name="embeddings.LayerNorm.bias")
    graph = openvino().Model([opset.add(opset.multiply(opset.add(bias, product), scale), shift)], [given])
    found = bge_small.tensors(graph)
    assert np.array_equal(found["encoder.layer.0.output.dense.weight"], weight.T)
    assert np.array_equal(found["encoder.layer.0.output.dense.bias"], np.ones(2))
    assert (found["embeddings.LayerNorm.weight"][0], found["embeddings.LayerNorm.bias"][0]) == (3, 4)
    assert "embeddings.LayerNorm.weight" in found
    assert not found["pooler.dense.weight"].any()


def test_a_bias_of_no_product_is_refused() -> None:
    opset = openvino().opset13
    given = opset.parameter([-1, 2], np.float32, name="x")
    bias = opset.constant(np.ones(2, np.float32), name="encoder.layer.0.output.dense.bias")
    with pytest.raises(Refusal) as refused:
        bge_small.tensors(openvino().Model([opset.add(given, bias)], [given]))
    assert refused.value.reason == "not-convertible"


@pytest.mark.slow
def test_the_folder_is_a_model_of_the_first_token_with_a_prompt_for_questions(tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    sizes: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 12}
    bert: Any = BertModel  # untyped
    plain = bert(BertConfig(**sizes, intermediate_size=32, max_position_embeddings=64, initializer_range=0.2)).eval()
    write_tokenizer(tmp_path, 64)
    weights = {name: tensor.numpy() for name, tensor in plain.state_dict().items() if tensor.dtype == torch.float32}
    bge_small.write(tmp_path / "model", weights, tmp_path / "tokenizer.json")
    embedder = embedders.load(EmbedderOptions(str(tmp_path / "model"), backend="torch", device="cpu", cache=tmp_path))
    ids = torch.tensor([[2, *embedder._recipe.items(["the old mill"], "passage")[0].ids[1:]]])
    with torch.no_grad():
        first = plain(ids).last_hidden_state[0, 0].numpy()
    assert np.allclose(embedder.encode(["the old mill"], "passage")[0], first / np.linalg.norm(first), atol=1e-5)
    assert embedder._recipe.prompt("query") == bge_small.QUERY_PROMPT
    assert embedder.max_tokens == 64
    embedder.close()


@pytest.mark.slow
def test_the_published_model_comes_from_maven_and_finds_what_is_meant() -> None:
    embedder = embedders.load(EmbedderOptions("bge-small", device="cpu", precision="f32"))
    passages = ["The shaft seal of the turbine is inspected once a year.", "Dynamic programming solves a problem by its parts."]
    found = embedder.encode(passages, "passage")
    asked = embedder.encode(["when is the sealing of the shaft checked"], "query")[0]
    assert (embedder.dimension, embedder.max_tokens) == (384, 512)
    assert found[0] @ asked > 0.7 > found[1] @ asked
    embedder.close()
