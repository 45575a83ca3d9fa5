"""Maps a model's labels to PERSON, LOCATION and ORGANIZATION. All other labels (dates, languages, works of art) are ignored."""

from __future__ import annotations

import re
from collections.abc import Iterable

ENTITIES = ("PERSON", "LOCATION", "ORGANIZATION")

# labels of spaCy, CoNLL, OntoNotes, i2b2 and the training sets of personal-data models, in capitals, without punctuation
_PERSON = "PERSON PER PERS PERSNAME NAME FULLNAME FIRSTNAME GIVENNAME MIDDLENAME LASTNAME SURNAME PATIENT DOCTOR STAFF HCW"
_LOCATION = (
    "LOCATION LOC GPE GPELOC FAC FACILITY PLACE PLACENAME GEOGNAME CITY STATE COUNTY COUNTRY"
    " ADDRESS STREET STREETNAME STREETADDRESS SECONDARYADDRESS"
)
_ORGANIZATION = "ORGANIZATION ORGANISATION ORG ORGNAME COMPANY COMPANYNAME CORPORATION HOSPITAL VENDOR"
_MEANINGS = {
    label: entity for entity, labels in zip(ENTITIES, (_PERSON, _LOCATION, _ORGANIZATION), strict=True) for label in labels.split()
}

# a tag's position in its span: beginning, inside, end, single, last, unit
_POSITION = re.compile(r"^([BIESLU])[-_]", re.IGNORECASE)


def meaning(label: str) -> str | None:
    """PERSON, LOCATION, ORGANIZATION or None: `B-PER`, `GPE` and `persName` have a meaning, `MISC` and `LABEL_0` have none."""
    return _MEANINGS.get(re.sub(r"[^A-Z]", "", kind(label).upper()))


def kind(label: str) -> str:
    """A tag without its position in the span: `PER` for `B-PER`."""
    return _POSITION.sub("", label)


def begins(label: str) -> bool:
    """Whether this tag begins a new span even directly after a span of the same kind."""
    position = _POSITION.match(label)
    return position is not None and position[1].upper() in "BSU"


def personal(labels: Iterable[str]) -> bool:
    """Whether any label stands for people or places."""
    return not {"PERSON", "LOCATION"}.isdisjoint(filter(None, map(meaning, labels)))
