"""A retriever for LangChain. Needs the extra `langchain`."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field

from headrace_client.answers import Answer, Passage
from headrace_client.client import AsyncClient, Client


class HeadraceRetriever(BaseRetriever):
    """The `k` best passages as documents: their text, with the citations and the score in `metadata`.

    `client` answers `invoke`; `async_client` answers `ainvoke`, which runs `invoke` in a thread without one. `options`: the other fields of
    `headrace_client.Question`. `k` may be given to `invoke` too.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    client: Client
    async_client: AsyncClient | None = None
    k: int = 5
    options: dict[str, Any] = Field(default_factory=dict)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - LangChain calls it by this name
        k: int | None = None,
    ) -> list[Document]:
        return documents(self.client.search(query, top=k or self.k, **self.options))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        if self.async_client is None:
            return await super()._aget_relevant_documents(query, run_manager=run_manager, **({"k": k} if k else {}))
        return documents(await self.async_client.search(query, top=k or self.k, **self.options))


def documents(answer: Answer) -> list[Document]:
    return [_document(passage) for passage in answer.passages]


def _document(passage: Passage) -> Document:
    shown = passage.model_dump(mode="json", include={"heading_path", "score", "citations"})
    return Document(id=passage.chunk, page_content=passage.expanded or passage.text, metadata=shown)
