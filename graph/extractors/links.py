"""Relations from hyperlinks, and the names under which other documents may refer to this one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from core.records import Chunk, Redacted, Relation
from graph import canonical
from graph.extractors.extractor import Findings
from graph.extractors.references import is_series
from graph.keys import DOCUMENT, address_key, document_key, link_key, reference_key

_NUMBERED = re.compile(r"([A-Za-z]{2,6})[-_ ]?([0-9]{1,5})")


class Links:
    """LINKS_TO addresses, REFERS_TO other documents, KNOWN_AS the document's own address, NUMBERED by the number in its name."""

    name = "links"
    fingerprint = "2"

    def extract(self, document: Redacted, chunks: Sequence[Chunk]) -> Findings:  # noqa: ARG002
        source = document_key(document.name)
        known = {key for address in (document.name, document.uri) if (key := address_key(address)) and key != source}
        targets = _targets(document) - known - {source}
        edges = {("REFERS_TO" if target.startswith(DOCUMENT) else "LINKS_TO", target) for target in targets}
        edges |= {("KNOWN_AS", key) for key in known} | {("NUMBERED", key) for key in _numbers(document.name)}
        return Findings(relations=tuple(Relation(source, kind, target) for kind, target in sorted(edges)))


def _targets(document: Redacted) -> set[str]:
    """What the links point to. A relative link is one from the document's id and from its address: sources mean either."""
    targets = {link.target for block in document.blocks for link in block.links}
    bases = {document.name, document.uri or document.name}
    return {key for base in bases for target in targets if (key := link_key(base, target))}


def _numbers(name: str) -> Iterator[str]:
    """The number of a document whose file's name is one (`pep-0008.rst`). Documents in other folders may have the same."""
    path = canonical.name(name).partition("?")[0]
    numbered = _NUMBERED.fullmatch(PurePosixPath(path).name.partition(".")[0])
    if numbered and is_series(numbered[1]):
        yield reference_key(numbered[1], numbered[2])
