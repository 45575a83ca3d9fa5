"""Messages (RFC 5322) → Content: the subject as title, who wrote to whom as properties and as the first paragraph, then the body.

The plain-text part is read where it says something, else the HTML part. Attachments are named, not read.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

from core.records import Block, Content
from parsers.decoding import decode
from parsers.plain import paragraphs

_HEADERS = ("From", "To", "Cc", "Reply-To", "Date", "Subject")
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF8)


def read(content: bytes) -> Content:
    """A message. Broken headers are read as far as they go."""
    message = BytesParser(policy=policy.default).parsebytes(_narrow(content))
    headers = {name: value for name in _HEADERS if (value := _header(message, name))}
    preamble = "\n".join(f"{name}: {value}" for name, value in headers.items() if name != "Subject")
    title = headers.get("Subject", "")
    head = [Block("heading", title, level=1)] * bool(title) + [Block("paragraph", preamble)] * bool(preamble)
    properties = {name.lower().replace("-", "_"): value for name, value in headers.items()}
    return Content(blocks=(*head, *_body(message), *_attachments(message)), title=title, properties=properties)


def _narrow(content: bytes) -> bytes:
    """A message saved as UTF-16 is a message still."""
    return decode(content).encode() if content.startswith(_WIDE_MARKS) or b"\0" in content[:64] else content


def _header(message: EmailMessage, name: str) -> str:
    """All of a header's occurrences on one line. The standard library raises on some broken ones; then it is what was written."""
    try:
        values = [str(value) for value in message.get_all(name, [])]
    except (ValueError, TypeError, AttributeError, IndexError, LookupError):
        values = [value for key, value in message.raw_items() if key.lower() == name.lower()]
    return " ".join(", ".join(values).encode("utf-8", "replace").decode().split())


def _body(message: EmailMessage) -> tuple[Block, ...]:
    plain = tuple(block for part in _parts(message, "text/plain") for block in paragraphs(_text(part)))
    return plain or tuple(block for part in _parts(message, "text/html") for block in _page(part))


def _parts(message: EmailMessage, media_type: str) -> Iterator[EmailMessage]:
    for part in message.walk():
        if part.get_content_type() == media_type and not part.is_attachment():
            yield part


def _text(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    return decode(payload, part.get_content_charset()) if isinstance(payload, bytes) else ""


def _page(part: EmailMessage) -> tuple[Block, ...]:
    from parsers import web

    return web.page(_text(part)).blocks


def _attachments(message: EmailMessage) -> Iterator[Block]:
    names = [name for part in message.walk() if part.is_attachment() and (name := _flat(part.get_filename()))]
    if names:
        yield Block("heading", "Attachments", level=2)
    for name in names:
        yield Block("list_item", name, level=1)


def _flat(name: str | None) -> str:
    return " ".join((name or "").encode("utf-8", "replace").decode().split())
