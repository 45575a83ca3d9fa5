"""Reads SQL and Cypher, which stand in files of their own.

A file holds one statement or several, each under a line `-- name: <name>` (`// name: <name>` in Cypher). Values are always parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import LiteralString, cast

_NAME = re.compile(r"^(?:--|//) name: (\w+)\s*$", re.MULTILINE)


@cache
def statements(package: str, path: str) -> dict[str, LiteralString]:
    """The named statements of a file in a package: `statements("core.ledger", "sql/ledger.sql")["stale"]`."""
    parts = _NAME.split(files(package).joinpath(path).read_text(encoding="utf-8"))
    bodies = (body.strip().removesuffix(";") for body in parts[2::2])
    # a file of this package is as literal as a string in its source
    return cast("dict[str, LiteralString]", dict(zip(parts[1::2], bodies, strict=True)))


def array(numbers: Iterable[float]) -> str:
    """A parameter for an array of numbers, as text: the driver takes several times as long for a list."""
    return "{" + ",".join(map(str, numbers)) + "}"
