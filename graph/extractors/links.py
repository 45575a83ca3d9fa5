"""Relations from hyperlinks, and the names under which other documents may refer to this one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from core.records import Chunk, Redacted, Relation
from graph.extractors.extractor import Findings
from graph.extractors.references import is_series
from graph.keys import document_key, link_key, reference_key, url_key

_NUMBERED = re.compile(r"([A-Za-z]{2,6})[-_ ]?([0-9]{1,5})")


class Links:
    """LINKS_TO web addresses, REFERS_TO other documents, KNOWN_AS the document's own address and number."""

    name = "links"
    fingerprint = "1"

    def extract(self, document: Redacted, chunks: Sequence[Chunk]) -> Findings:  # noqa: ARG002
        source = document_key(document.name)
        edges = (*_links(document), *_known_as(document))
        return Findings(relations=tuple(Relation(source, kind, target) for kind, target in edges))


def _links(document: Redacted) -> Iterator[tuple[str, str]]:
    targets = {link.target for block in document.blocks for link in block.links}
    for key in (link_key(document.name, target) for target in sorted(targets)):
        if key:
            yield ("LINKS_TO" if key.startswith("URL:") else "REFERS_TO"), key


def _known_as(document: Redacted) -> Iterator[tuple[str, str]]:
    """The document's web address, and its number if its name is one (`pep-0008.rst`)."""
    for address in (document.name, document.uri):
        if key := url_key(address):
            yield "KNOWN_AS", key
    numbered = _NUMBERED.fullmatch(PurePosixPath(document.name).name.partition(".")[0])
    if numbered and is_series(numbered[1]):
        yield "KNOWN_AS", reference_key(numbered[1], numbered[2])
