"""A component for Haystack. Needs the extra `haystack`."""

from __future__ import annotations

from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.utils import Secret, deserialize_secrets_inplace

from headrace_client.answers import Passage
from headrace_client.client import Client


@component
class HeadraceRetriever:
    """The `top_k` best passages as documents: their text, the score, and the citations in `meta`.

    `url`: of `headrace serve`. `api_key`: from the environment, `HEADRACE_API_KEY`, by default; a pipeline that is saved has its name and
    not its value. `options`: the other fields of `headrace_client.Question`.
    """

    def __init__(self, url: str, api_key: Secret | None = None, top_k: int = 5, options: dict[str, Any] | None = None) -> None:
        self.url, self.top_k, self.options = url, top_k, options or {}
        self.api_key = api_key or Secret.from_env_var("HEADRACE_API_KEY")
        self._client: Client | None = None

    def warm_up(self) -> None:
        if self._client is None:
            self._client = Client(self.url, self.api_key.resolve_value() or "")

    @component.output_types(documents=list[Document])
    def run(self, query: str, top_k: int | None = None) -> dict[str, list[Document]]:
        self.warm_up()
        assert self._client is not None
        answer = self._client.search(query, top=top_k or self.top_k, **self.options)
        return {"documents": [_document(passage) for passage in answer.passages]}

    def to_dict(self) -> dict[str, Any]:
        return default_to_dict(self, url=self.url, api_key=self.api_key.to_dict(), top_k=self.top_k, options=self.options)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> HeadraceRetriever:
        deserialize_secrets_inplace(data["init_parameters"], ["api_key"])
        return default_from_dict(cls, data)


def _document(passage: Passage) -> Document:
    shown = passage.model_dump(mode="json", include={"heading_path", "citations"})
    return Document(id=passage.chunk, content=passage.expanded or passage.text, meta=shown, score=passage.score)
