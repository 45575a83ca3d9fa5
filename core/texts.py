"""Texts from outside: arguments of a process and of a call, names of files."""

from __future__ import annotations


def is_unicode(text: str) -> bool:
    """Whether the text has no lone surrogate. Python has one for each byte of an argument or a file name that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
