"""The sample of the check `residual_pii`: the redacted documents it examines, and what the tenant's profile claims about them.

`quality.residual.check` judges it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from core import artifacts
from core.ledger.stage import Session
from core.policy import Privacy
from core.records import Redacted, decode
from core.sql import statements

if TYPE_CHECKING:
    from quality import Check
    from quality.residual.check import Claim, Document

NEWEST, SAMPLED = 200, 400
_BATCH = 50


def residual_pii(session: Session) -> Check:
    """Examine the newest documents, so that a bad batch is stopped at once, and a random sample, to estimate the rate of all documents."""
    import quality

    with session.transaction() as connection:
        drawn = connection.execute(_SQL["sampled"], {"limit": SAMPLED}).fetchall()
        newest = connection.execute(_SQL["newest"], {"stage": "redact", "limit": NEWEST}).fetchall()
    selected = {row["document"]: False for row in newest} | {row["document"]: True for row in drawn}
    total = drawn[0]["documents"] if drawn else 0
    return quality.residual_pii(_documents(session, selected), total, claim(session.policy.privacy))


def _documents(session: Session, selected: Mapping[str, bool]) -> Iterator[Document]:
    """`selected`: document → whether it belongs to the random sample."""
    names = iter(selected)
    while batch := list(islice(names, _BATCH)):
        with session.transaction() as connection:
            payloads = artifacts.get(connection, session.keys, "redact", batch)
        for document, payload in payloads.items():
            yield _read(decode(payload, Redacted), drawn=selected[document])


def _read(redacted: Redacted, *, drawn: bool) -> Document:
    """A table's row is one text: a single cell has too little context."""
    from quality.residual.check import Document

    rows = [" | ".join(row) for block in redacted.blocks for row in block.rows]
    links = [link for block in redacted.blocks for link in block.links]
    texts = [redacted.title, *(block.text for block in redacted.blocks), *rows, *(link.text for link in links), *redacted.metadata.values()]
    return Document([text for text in texts if text], [redacted.name, redacted.uri, *(link.target for link in links)], drawn)


def claim(privacy: Privacy) -> Claim:
    """What a tenant's profile replaces, the values that it allows, and the tolerated shares of the rest."""
    from privacy.finders.lists import Allowed
    from privacy.profiles import profile
    from quality.residual.check import Claim

    replaced: Collection[str] = [entity for entity, action in profile(privacy).actions.items() if action != "keep"]
    most = {str(group): share for group, share in privacy.most_residual.items()}
    return Claim(replaced, Allowed(privacy.allow).has, most)


_SQL = statements("pipelines.operations", "sql/checks.sql")
