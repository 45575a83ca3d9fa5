"""HTML and Markdown → Content, by docling's HTML reader. Nothing that a page refers to is fetched."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from typing import Any

from lxml import etree  # type: ignore[import-untyped]
from lxml import html as markup
from lxml.html import defs  # type: ignore[import-untyped]

from core.records import Content
from parsers.decoding import decode
from parsers.docling import conversion
from parsers.docling.blocks import blocks
from parsers.docling.spacing import Paragraphs, index
from parsers.formats import Format
from parsers.reasons import ParseError

_CHARSET = re.compile(
    rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})|<\?xml[^>]{0,200}encoding=[\"']([A-Za-z0-9_.:-]{1,40})", re.I
)
_HEAD_BYTES = 4096
_NOT_CONTENT = ("script", "style", "noscript", "template", "iframe", "object", "embed", "nav")
_PHRASING = (
    "a abbr acronym b bdi bdo big button cite code data del dfn em font i ins kbd label mark math mi mn mo mrow msub msup q rp rt ruby s "
    "samp small span strike strong sub sup time tt u var wbr"
)
_INLINE = frozenset(_PHRASING.split())
# lxml's list, and the elements added to HTML since
_KNOWN_ELEMENTS = defs.tags | {"main", "picture", "dialog", "template", "bdi", "data", "search", "slot", "image"}
_BREAK = "\v"
# without their end, an HTML parser takes everything up to the end of the file for their content
_CLOSED = {"!--": "-->"} | {
    name: f"</{name}" for name in ("html", "body", "script", "style", "title", "textarea", "template", "noscript", "iframe")
}
_SELF_CLOSING = re.compile(r"<[^>]*/>")
_KEPT_META = ("author", "description", "keywords", "subject", "dcterms.creator", "dc.creator", "dc.subject", "dc.description")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
# text between two rules is no front matter
_YAML_BEGINS = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*+(?:\Z|[\"']?[A-Za-z][\w -]*[\"']?[ \t]*:)")
_TOML = re.compile(r"\A\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_LINE = re.compile(r"(?P<name>[A-Za-z][\w -]*):[ \t]*(?P<value>.*)|[ \t]*-[ \t]+(?P<item>.+)")

conversion.load(Format.HTML)


def html(content: bytes) -> Content:
    """A page: the title is the first `h1`, or `<title>`; properties are its descriptive `<meta>` elements. Raises as `whole_page` does."""
    declared = _CHARSET.search(content[:_HEAD_BYTES])
    name = next((group for group in declared.groups() if group), b"").decode() if declared else None
    return whole_page(decode(content, name))


def markdown(content: bytes) -> Content:
    """GitHub-flavoured Markdown; front matter becomes properties. Raises as `whole_page` does."""
    from marko.ext.gfm import gfm

    source = decode(content)
    own, body = _front_matter(source)
    read = whole_page(gfm.convert(body))
    properties = {**own, **read.properties}
    return Content(blocks=read.blocks, title=read.title or properties.get("title", ""), properties=properties)


def whole_page(source: str) -> Content:
    """As `page`. If no text is found, raises ParseError: `corrupt-document` if the source is cut off (an element or a comment has no end),
    `no-text` if the page says that a script has to write it.
    """
    read = page(source)
    if not read.blocks and _is_cut_off(source.lower()):
        raise ParseError("corrupt-document")
    if not read.blocks and _needs_scripts(source):
        raise ParseError("no-text")
    return read


def _needs_scripts(source: str) -> bool:
    tree = _tree(source)
    return tree is not None and any("".join(element.itertext()).strip() for element in tree.iter("noscript"))


def _is_cut_off(source: str) -> bool:
    last = {name: source[at:] for name in _CLOSED if (at := source.rfind(f"<{name}")) >= 0}
    unclosed = (not (_CLOSED[name] in rest or _SELF_CLOSING.match(rest)) for name, rest in last.items())
    return source.rfind("<") > source.rfind(">") or any(unclosed)


def page(source: str) -> Content:
    """The content of a decoded page."""
    tree = _tree(source)
    if tree is None:
        return Content(blocks=())
    properties = _properties(tree)
    _strip(tree)
    # the byte order mark takes precedence over any encoding that the page declares
    cleaned = b"\xef\xbb\xbf" + etree.tostring(tree, method="html", encoding="utf-8")
    read = blocks(conversion.convert(cleaned, Format.HTML), paragraphs(tree))
    title = next((block.text for block in read if block.kind == "heading" and block.level == 1), "")
    return Content(blocks=read, title=title or properties.get("title", ""), properties=properties)


def paragraphs(tree: etree._Element) -> Paragraphs:
    """The texts between block-level boundaries, by key, white space collapsed, line breaks kept."""
    return index(_runs(tree))


def texts(source: str) -> Iterator[str]:
    """The texts of a page between block-level boundaries, as in `paragraphs`."""
    tree = _tree(source)
    return iter(()) if tree is None else _runs(tree)


def _tree(source: str) -> etree._Element | None:
    """The tree without comments and processing instructions, no entity or file resolved; None if nothing remains."""
    try:
        return markup.document_fromstring(source.encode("utf-8", "replace"), parser=_parser(), ensure_head_body=True)
    except etree.ParserError:
        return None


def _parser() -> markup.HTMLParser:
    return markup.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=True)


def _strip(tree: etree._Element) -> None:
    for element in list(tree.iter(*_NOT_CONTENT)):
        element.drop_tree()
    for element in [*tree.iterfind("body/footer"), *tree.iterfind("body/header")]:
        if not any(True for _ in element.iter("h1", "h2", "h3")):
            element.drop_tree()
    # pictures embedded in the page are never decoded
    for image in tree.iter("img"):
        image.set("src", "picture")


def _runs(tree: etree._Element) -> Iterator[str]:
    """The texts, with unknown elements (`<placeholder>` in Markdown) as inline and as block-level: docling may treat them as either."""
    unknown = {element.tag for element in tree.iter()} - _KNOWN_ELEMENTS
    yield from _runs_between(tree, _INLINE | unknown)
    if unknown:
        yield from _runs_between(tree, _INLINE)


def _runs_between(tree: etree._Element, inline: Set[str]) -> Iterator[str]:
    buffer: list[str] = []
    for event, element in etree.iterwalk(tree, events=("start", "end")):
        if element.tag not in inline and element.tag != "br":
            yield from _flush(buffer)
        if event == "start":
            buffer.append(_BREAK if element.tag == "br" else element.text or "")
        else:
            buffer.append(element.tail or "")
    yield from _flush(buffer)


def _flush(buffer: list[str]) -> Iterator[str]:
    text = "\n".join(" ".join(line.split()) for line in "".join(buffer).split(_BREAK)).strip()
    buffer.clear()
    if text:
        yield text


def _properties(tree: etree._Element) -> dict[str, str]:
    properties = {"title": " ".join((tree.findtext("head/title") or "").split())}
    for meta in tree.iterfind("head/meta"):
        name = (meta.get("name") or "").lower()
        if name in _KEPT_META:
            properties.setdefault(name.rpartition(".")[2].replace("creator", "author"), " ".join((meta.get("content") or "").split()))
    return {name: value for name, value in properties.items() if value}


def _front_matter(source: str) -> tuple[dict[str, str], str]:
    """The properties in the front matter, and the source below it. YAML between `---`, or TOML between `+++` (Hugo, Zola)."""
    if (yaml := _FRONT_MATTER.match(source)) and _YAML_BEGINS.match(yaml[1]):
        return _yaml(yaml[1]), source[yaml.end() :]
    if toml := _TOML.match(source):
        with suppress(tomllib.TOMLDecodeError):
            return _scalars(tomllib.loads(toml[1])), source[toml.end() :]
    return {}, source


def _scalars(values: Mapping[str, Any]) -> dict[str, str]:
    """Scalars and lists of scalars; tables are dropped."""
    listed = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    texts = {name: [str(one) for one in value if not isinstance(one, dict | list)] for name, value in listed.items()}
    return {_property(name): text for name, parts in texts.items() if (text := ", ".join(filter(None, parts)))}


def _property(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().lower())


def _yaml(source: str) -> dict[str, str]:
    """Top-level scalars and lists of scalars; deeper nesting is dropped."""
    values: dict[str, list[str]] = {}
    name = ""
    for line in source.splitlines():
        match = _FRONT_LINE.match(line)
        if match and match["name"]:
            name = _property(match["name"])
            values[name] = [match["value"]]
        elif match and name:
            values[name].append(match["item"])
    return {name: text for name, parts in values.items() if (text := ", ".join(_scalar(part) for part in parts if part.strip()))}


def _scalar(text: str) -> str:
    return text.strip().strip("[]").strip("\"'")
