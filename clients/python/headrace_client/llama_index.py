"""A retriever for LlamaIndex. Needs the extra `llama-index`."""

from __future__ import annotations

from typing import Any

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from headrace_client.answers import Answer, Passage
from headrace_client.client import AsyncClient, Client


class HeadraceRetriever(BaseRetriever):
    """The `top` best passages as nodes: their text, with the citations in `metadata`, which no model is shown.

    `async_client` answers `aretrieve`; without one, `client` does, in this thread. `options`: the other fields of `Question`.
    """

    def __init__(self, client: Client, top: int = 5, async_client: AsyncClient | None = None, **options: Any) -> None:
        super().__init__()
        self._client, self._async_client, self._top, self._options = client, async_client, top, options

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return nodes(self._client.search(query_bundle.query_str, top=self._top, **self._options))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if self._async_client is None:
            return self._retrieve(query_bundle)
        return nodes(await self._async_client.search(query_bundle.query_str, top=self._top, **self._options))


def nodes(answer: Answer) -> list[NodeWithScore]:
    return [NodeWithScore(node=_node(passage), score=passage.score) for passage in answer.passages]


def _node(passage: Passage) -> TextNode:
    shown = passage.model_dump(mode="json", include={"heading_path", "citations"})
    return TextNode(
        id_=passage.chunk,
        text=passage.expanded or passage.text,
        metadata=shown,
        excluded_embed_metadata_keys=list(shown),
        excluded_llm_metadata_keys=list(shown),
    )
