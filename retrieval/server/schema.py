"""What requests and answers look like. A search's body is `retrieval.request.SearchRequest`, without what a caller may not say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from core.errors import HeadraceError
from core.records import decode
from retrieval.answer import Answer
from retrieval.documents import DocumentText, Related
from retrieval.request import SearchRequest
from retrieval.server.caller import Caller
from retrieval.server.doors import Explained
from retrieval.server.refusals import Refusal

Record = TypeVar("Record")

OWN: Final = {"principals"}
"""Fields of a request that are not the caller's to say."""
REF: Final = "#/components/schemas/{name}"

_FIELDS: Final = [field for field in msgspec.structs.fields(SearchRequest) if field.name not in OWN]

Search: Any = msgspec.defstruct(
    "Search",
    [(one.name, one.type) if one.required else (one.name, one.type, one.default) for one in _FIELDS],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    namespace={"__doc__": "A question. The tenant and the principals are the credential's: a field for them is refused."},
)


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document: its id, or the `document_key` of a citation. Of `explain` also a passage: its `chunk`."""

    name: str


class Explanations(msgspec.Struct, frozen=True):
    """The documents that the name stands for and that the caller may read."""

    documents: Sequence[Explained]


ANSWERS: Final = (Answer, DocumentText, Explanations, Related, Refusal)
BODIES: Final = (Search, Named)


def read(body: bytes, kind: type[Record]) -> Record:
    """Raises HeadraceError `bad-request` for what is not JSON of this kind."""
    try:
        return decode(body, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        detail = str(error) if isinstance(error, msgspec.ValidationError) else "the body is not JSON"
        raise HeadraceError(detail, reason="bad-request", remedy="`/openapi.json` describes requests.") from None


def request(body: bytes, caller: Caller) -> SearchRequest:
    """The search that a body asks for, in the name of the caller. Raises HeadraceError `bad-request`, and as SearchRequest does."""
    asked = read(body, Search)
    return SearchRequest(principals=caller.principals, **{field.name: getattr(asked, field.name) for field in _FIELDS})


def components() -> dict[str, Any]:
    """The schemas of bodies and answers, for OpenAPI."""
    _, found = msgspec.json.schema_components([*BODIES, *ANSWERS], ref_template=REF)
    return {name: _trimmed(one) for name, one in found.items()}


def body(kind: type, example: dict[str, Any]) -> dict[str, Any]:
    """A route's body, for FastAPI's `openapi_extra`."""
    content = {"schema": {"$ref": REF.format(name=kind.__name__)}, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def answers(kind: type, example: dict[str, Any], *refusals: int) -> dict[int | str, dict[str, Any]]:
    """A route's answers, for FastAPI's `responses`."""
    shown: dict[int | str, dict[str, Any]] = {code: _answer(_WHY[code], _content(Refusal)) for code in refusals}
    return {200: _answer("An answer.", {**_content(kind), "example": example}), **shown}


_WHY: Final = {
    400: "The request cannot be meant.",
    401: "No credential, or one that is not valid.",
    404: "There is no such document that the caller may read.",
    413: "The body is too large.",
    429: "Too many requests for this credential.",
    503: "A server that is needed does not answer.",
    504: "It took too long, and was cancelled.",
}


def _answer(why: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": why, "content": {"application/json": content}}


def _content(kind: type) -> dict[str, Any]:
    return {"schema": {"$ref": REF.format(name=kind.__name__)}}


def _trimmed(schema: dict[str, Any]) -> dict[str, Any]:
    """With its description on lines without the source's indentation."""
    text = schema.get("description")
    return schema | ({"description": "\n".join(line.strip() for line in text.splitlines())} if text else {})
