"""A data subject's documents: those with a surrogate of the given value in anything that was redacted.

The value is only used to compute surrogates, and is in nothing that this module returns or stores. Documents that are not redacted yet
cannot be searched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from core import artifacts
from core.errors import HeadraceError
from core.keys import TenantKeys
from core.ledger.stage import Session
from core.sql import statements
from core.surrogates import SURROGATE
from pipelines.resources import Resources

if TYPE_CHECKING:
    from privacy import Redactor

REDACTED = ("redact", "chunk", "graph")
"""The stages whose artifacts are redacted: the document with its title and metadata, its passages, its contribution to the graph."""

PAGE = 64


def surrogates(resources: Resources, session: Session, value: str) -> list[str]:
    """Every surrogate of this value in the tenant: as each kind of entity, and as the tenant's own detectors read it.

    During a rotation, also those under the former key. Raises HeadraceError `empty-value`.
    """
    if not value.strip():
        raise HeadraceError("there is no value on standard input", reason="empty-value", remedy="Pass one value, on one line.")
    redactor = resources.models.redactor(session.policy.privacy)
    keys = (session.keys, session.keys.former)
    return sorted({found for of in keys if of for found in _under(of, redactor, value.strip())})


def _under(keys: TenantKeys, redactor: Redactor, value: str) -> set[str]:
    from privacy import LABELS, redact_text, surrogate
    from privacy.folding import fold

    found = {surrogate(entity, one, keys) for entity in LABELS for one in (value, fold(value).text)}
    # the tenant's detectors may read a longer or shorter value here; it counts only if the whole text is one value
    read = redact_text(value, redactor, keys).strip()
    return found | ({read} if SURROGATE.fullmatch(read) else set())


def documents(session: Session, tokens: Sequence[str]) -> list[str]:
    """The keys of the documents that hold one of these, in passages, citations, redacted texts, titles and metadata, or the graph.

    Reads everything redacted of the tenant: about as long as reading it from disk takes.
    """
    with session.transaction() as connection:
        found = {row["document"] for row in connection.execute(_SQL["shown"], {"tokens": list(tokens)})}
    return sorted(found.union(_in_artifacts(session, [token.encode() for token in tokens])))


def not_redacted(session: Session) -> int:
    """Live documents whose newest version has not passed redaction: it failed, waits, or is behind."""
    with session.transaction() as connection:
        return int(connection.execute(_SQL["not_redacted"]).fetchall()[0]["documents"])


def _in_artifacts(session: Session, tokens: Sequence[bytes]) -> Iterator[str]:
    after = ""
    while page := _page(session, after):
        after = max(document for document, _ in page)
        yield from {document for document, payload in page if any(token in payload for token in tokens)}


def _page(session: Session, after: str) -> list[tuple[str, bytes]]:
    """(document, artifact) pairs of the next documents. Artifacts are sealed or redacted at rest."""
    values: dict[str, Any] = {"stages": list(REDACTED), "after": after, "limit": PAGE}
    with session.transaction() as connection:
        keys = [row["document"] for row in connection.execute(_SQL["kept"], values)]
        return [pair for stage in REDACTED for pair in artifacts.get(connection, session.keys, stage, keys).items()]


_SQL = statements("pipelines.governance", "sql/subjects.sql")
