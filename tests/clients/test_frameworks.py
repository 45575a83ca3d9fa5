"""The retrievers, by the contract suites and the real base classes of their frameworks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from haystack import Document as HaystackDocument
from haystack import Pipeline
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests
from llama_index.core.schema import NodeWithScore

from headrace_client import AsyncClient, Client
from headrace_client import haystack as for_haystack
from headrace_client import langchain as for_langchain
from headrace_client import llama_index as for_llama_index
from tests.clients.server import Server, found


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    server.says = [found(5)]
    with Client(server.url, "hr_secret") as client:
        yield client


class TestLangChain(RetrieversIntegrationTests):
    """LangChain's own suite for retrievers, against a server that gives as many passages as it is asked for."""

    @pytest.fixture(autouse=True)
    def _served(self, server: Server) -> Iterator[None]:
        # as the real server does: `top` passages
        server.next = lambda: found(server.heard[-1][2].get("top", 5))  # type: ignore[method-assign]
        with Client(server.url, "hr_secret") as client:
            self._client = client
            yield

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return for_langchain.HeadraceRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"client": self._client}

    @property
    def retriever_query_example(self) -> str:
        return "how often is the guide bearing greased"


def test_langchain_documents_have_citations_and_options_reach_the_server(server: Server, client: Client) -> None:
    retriever = for_langchain.HeadraceRetriever(client=client, k=3, options={"expand": "section"})
    documents = retriever.invoke("bearing")
    assert documents[0].metadata["citations"][0]["document"] == "page-0"
    assert server.heard[-1][2] == {"query": "bearing", "top": 3, "expand": "section"}


def test_langchain_asks_asynchronously_with_an_async_client(server: Server, client: Client) -> None:
    async def ask() -> int:
        async with AsyncClient(server.url, "hr_secret") as asynchronous:
            return len(await for_langchain.HeadraceRetriever(client=client, async_client=asynchronous).ainvoke("bearing"))

    assert asyncio.run(ask()) == 5


def test_llama_index_nodes_have_text_score_and_citations(server: Server, client: Client) -> None:
    retriever = for_llama_index.HeadraceRetriever(client, top=2, mode="lexical")
    nodes = retriever.retrieve("bearing")
    assert all(isinstance(node, NodeWithScore) for node in nodes)
    assert (nodes[0].text, nodes[0].score) == ("passage 0", 1.0)
    assert nodes[0].metadata["citations"][0]["title"] == "Pumps"
    # what a model is shown is the passage alone
    assert nodes[0].get_content("llm") == "passage 0"  # type: ignore[arg-type]
    assert server.heard[-1][2] == {"query": "bearing", "top": 2, "mode": "lexical"}


def test_llama_index_retrieves_asynchronously(server: Server, client: Client) -> None:
    async def ask() -> list[NodeWithScore]:
        async with AsyncClient(server.url, "hr_secret") as asynchronous:
            return await for_llama_index.HeadraceRetriever(client, async_client=asynchronous).aretrieve("bearing")

    assert len(asyncio.run(ask())) == 5
    assert len(asyncio.run(for_llama_index.HeadraceRetriever(client).aretrieve("bearing"))) == 5


def test_a_haystack_pipeline_runs_and_is_saved_without_the_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.says = [found(4)]
    monkeypatch.setenv("HEADRACE_API_KEY", "hr_secret")
    pipeline = Pipeline()
    pipeline.add_component("retriever", for_haystack.HeadraceRetriever(server.url, top_k=4))
    saved = pipeline.dumps()
    assert "hr_secret" not in saved
    restored = Pipeline.loads(saved, allowed_modules=["headrace_client"])
    documents = restored.run({"retriever": {"query": "bearing"}})["retriever"]["documents"]
    assert all(isinstance(document, HaystackDocument) for document in documents)
    assert (documents[0].content, documents[0].score, documents[0].meta["heading_path"]) == ("passage 0", 1.0, ["Pumps"])
    assert server.heard[-1][1]["authorization"] == "Bearer hr_secret"
    assert server.heard[-1][2]["top"] == 4
