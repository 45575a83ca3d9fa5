"""Messages → Content: the subject as title, the other headers as properties and as the first paragraph, then the body.

The plain-text part is read if it has text, else the HTML part. Attachments, including forwarded messages, are listed and become
children. A page saved by a browser (MHTML) is a message too; its pictures are ignored.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterable, Iterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

from msgspec import structs

from core.records import Block, Child, Content, Signals
from parsers.containers.archive import MOST_BYTES, MOST_MEMBERS, paths
from parsers.decoding import decode
from parsers.formats import Format
from parsers.reasons import ParseError
from parsers.text.plain import paragraphs

_HEADERS = ("From", "To", "Cc", "Reply-To", "Date", "Subject")
_SIGNATURES = frozenset({"application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature"})
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF8)


def read(content: bytes) -> Content:
    """A message. Broken headers are read as far as possible."""
    message = BytesParser(policy=policy.default).parsebytes(_as_utf_8(content))
    headers = {name: value for name in _HEADERS if (value := _header(message, name))}
    preamble = "\n".join(f"{name}: {value}" for name, value in headers.items() if name != "Subject")
    title = headers.get("Subject", "")
    head = [Block("heading", title, level=1)] * bool(title) + [Block("paragraph", preamble)] * bool(preamble)
    properties = {name.lower().replace("-", "_"): value for name, value in headers.items()}
    attachments = list(_attachments(message))
    children = _children((_name(part), _payload(part), part.get_content_type()) for part in attachments)
    blocks = (*head, *_body(message, attachments), *_list(child.path for child in children))
    signals = Signals(dropped=dict(Counter(_dropped(message, attachments))))
    return Content(blocks=blocks, title=title, properties=properties, children=children, signals=signals)


def outlook(content: bytes) -> Content:
    """A message saved by Outlook. An attached message has no file bytes there: it becomes a child with a reason."""
    from oxmsg import Message

    from parsers.docling import office

    read_message = office.read(Format.OUTLOOK, content)
    attachments = Message.load(content).attachments
    children = _children((each.file_name or "", each.file_bytes, each.mime_type or "") for each in attachments)
    blocks = (*read_message.blocks, *_list(child.path for child in children))
    return structs.replace(read_message, blocks=blocks, children=children)


def saved_page(content: bytes) -> Content:
    """The saved page: the first HTML part."""
    from parsers.docling import web

    message = BytesParser(policy=policy.default).parsebytes(_as_utf_8(content))
    page = next(_parts(message, "text/html", []), None)
    if page is None:
        raise ParseError("corrupt-document")
    return web.whole_page(_text(page))


def _as_utf_8(content: bytes) -> bytes:
    """A message saved as UTF-16 or UTF-32, converted to UTF-8."""
    return decode(content).encode() if content.startswith(_WIDE_MARKS) or b"\0" in content[:64] else content


def _header(message: EmailMessage, name: str) -> str:
    """All occurrences of a header on one line. The standard library raises on some broken headers; their raw value is used then."""
    try:
        values = [str(value) for value in message.get_all(name, [])]
    except (ValueError, TypeError, AttributeError, IndexError, LookupError):
        values = [value for key, value in message.raw_items() if key.lower() == name.lower()]
    return " ".join(", ".join(values).encode("utf-8", "replace").decode().split())


def _body(message: EmailMessage, attachments: list[EmailMessage]) -> tuple[Block, ...]:
    plain = tuple(block for part in _parts(message, "text/plain", attachments) for block in paragraphs(_text(part)))
    return plain or tuple(block for part in _parts(message, "text/html", attachments) for block in _page(part))


def _parts(message: EmailMessage, media_type: str, attachments: list[EmailMessage]) -> Iterator[EmailMessage]:
    attached = set(map(id, attachments))
    return (part for part in _own_parts(message) if part.get_content_type() == media_type and id(part) not in attached)


def _own_parts(message: EmailMessage) -> Iterator[EmailMessage]:
    """The message's own parts, without those of an embedded message."""
    yield message
    if message.is_multipart() and message.get_content_maintype() == "multipart":
        for part in message.get_payload():
            if isinstance(part, EmailMessage):
                yield from _own_parts(part)


def _text(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    return decode(payload, part.get_content_charset()) if isinstance(payload, bytes) and payload.strip() else ""


def _page(part: EmailMessage) -> tuple[Block, ...]:
    from parsers.docling import web

    return web.page(_text(part)).blocks


def _attachments(message: EmailMessage) -> Iterator[EmailMessage]:
    """The attachments. Inline pictures are part of the text, and are ignored."""
    for part in _own_parts(message):
        kind = part.get_content_maintype()
        named = part.get_filename() and kind not in {"image", "multipart"} and part is not message
        if (kind == "message" or part.is_attachment() or named) and part.get_content_type() not in _SIGNATURES:
            yield part


def _dropped(message: EmailMessage, attachments: list[EmailMessage]) -> Iterator[str]:
    """The kind of each part that is not read."""
    for part in _own_parts(message):
        if part.get_content_type() in _SIGNATURES:
            yield "signatures"
        elif part.get_content_maintype() == "image" and not any(part is other for other in attachments):
            yield "pictures-within-the-text"


def _name(part: EmailMessage) -> str:
    if name := _flat(part.get_filename()):
        return name
    embedded = _embedded(part)
    return f"{_header(embedded, 'Subject') or 'message'}.eml" if embedded else "attachment"


def _payload(part: EmailMessage) -> bytes | None:
    """The attachment's bytes; an embedded message's own bytes, a delivery status's text. None if the standard library cannot decode it."""
    try:
        if (embedded := _embedded(part)) is not None:
            return embedded.as_bytes()
        if part.is_multipart():
            return b"\n".join(piece.as_bytes() for piece in part.iter_parts())
        payload = part.get_payload(decode=True)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return payload if isinstance(payload, bytes) else None


def _embedded(part: EmailMessage) -> EmailMessage | None:
    """The message embedded in a part of type `message/rfc822`."""
    payload = part.get_payload() if part.get_content_type() in {"message/rfc822", "message/global"} else None
    return payload[0] if isinstance(payload, list) and payload and isinstance(payload[0], EmailMessage) else None


def _children(files: Iterable[tuple[str, bytes | None, str]]) -> tuple[Child, ...]:
    """The files as children, within the limits of an archive's members. Raises ParseError: `archive-too-large`."""
    children = [_child(*file) for file in files]
    if len(children) > MOST_MEMBERS or sum(len(child.content) for child in children) > MOST_BYTES:
        raise ParseError("archive-too-large")
    return tuple(structs.replace(child, path=path) for child, path in zip(children, paths(child.path for child in children), strict=True))


def _child(name: str, payload: bytes | None, media_type: str) -> Child:
    reason = "unsupported-media-type" if payload is None else ""
    return Child((name or "attachment").replace("/", "_"), b"" if reason else payload or b"", media_type, reason)


def _list(names: Iterable[str]) -> Iterator[Block]:
    listed = [Block("list_item", name, level=1) for name in names]
    return iter([Block("heading", "Attachments", level=2), *listed] if listed else [])


def _flat(name: str | None) -> str:
    return " ".join((name or "").encode("utf-8", "replace").decode().split())
