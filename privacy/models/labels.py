"""What a model's own labels mean here. Everything else that a model may know (dates, languages, works of art) means nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable

ENTITIES = ("PERSON", "LOCATION", "ORGANIZATION")

# Labels as spaCy's, CoNLL's, OntoNotes', i2b2's and the personal-data models' training sets have them, without marks and in capitals
_PERSON = "PERSON PER PERS PERSNAME NAME FULLNAME FIRSTNAME GIVENNAME MIDDLENAME LASTNAME SURNAME PATIENT DOCTOR STAFF HCW"
_LOCATION = (
    "LOCATION LOC GPE GPELOC FAC FACILITY PLACE PLACENAME GEOGNAME CITY STATE COUNTY COUNTRY"
    " ADDRESS STREET STREETNAME STREETADDRESS SECONDARYADDRESS"
)
_ORGANIZATION = "ORGANIZATION ORGANISATION ORG ORGNAME COMPANY COMPANYNAME CORPORATION HOSPITAL VENDOR"
_MEANINGS = {
    label: entity for entity, labels in zip(ENTITIES, (_PERSON, _LOCATION, _ORGANIZATION), strict=True) for label in labels.split()
}

# a tag's place in its span: inside and outside, and in richer schemes beginning, end or last, single or unit
_PLACE = re.compile(r"^([BIESLU])[-_]", re.IGNORECASE)


def meaning(label: str) -> str | None:
    """PERSON, LOCATION or ORGANIZATION, or None: `B-PER`, `GPE` and `persName` mean something, `MISC` and `LABEL_0` do not."""
    return _MEANINGS.get(re.sub(r"[^A-Z]", "", kind(label).upper()))


def kind(label: str) -> str:
    """A tag without its place in the span: `PER` of `B-PER`."""
    return _PLACE.sub("", label)


def begins(label: str) -> bool:
    """Whether a span begins with this tag though one of its kind ends right before."""
    place = _PLACE.match(label)
    return place is not None and place[1].upper() in "BSU"


def personal(labels: Iterable[str]) -> bool:
    """Whether people or places are among what a model knows."""
    return not {"PERSON", "LOCATION"}.isdisjoint(filter(None, map(meaning, labels)))
