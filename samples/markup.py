"""Parse the markup of the binary samples' sources into blocks. Output formats do not belong here.

`key: value` lines up to the first empty line are the file's properties. The blocks follow, separated by empty lines: `# heading`,
`- item` lists, `| table |` with a `| --- |` line under its header, `> note` (a speaker's note), `![alt text](name)` (a picture), and
paragraphs with `[text](target)` links.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
_PICTURE = re.compile(r"!\[([^\]]+)\]\((\w+)\)")
_HEADING = re.compile(r"(#+) (.+)")


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Runs of (text, link target), in order. The target is empty for text without a link."""

    runs: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.runs)


@dataclass(frozen=True)
class Items:
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """The first row is the header."""

    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Note:
    text: str


@dataclass(frozen=True)
class Picture:
    alt: str
    name: str


Block = Heading | Paragraph | Items | Table | Note | Picture


@dataclass(frozen=True)
class Page:
    title: str
    author: str
    subject: str
    blocks: tuple[Block, ...]

    def sections(self) -> list[tuple[Heading, list[Block]]]:
        """Group the blocks by the level-1 heading above them. Sections become slides, sheets or chapters."""
        found: list[tuple[Heading, list[Block]]] = []
        for block in self.blocks:
            if isinstance(block, Heading) and block.level == 1:
                found.append((block, []))
            else:
                found[-1][1].append(block)
        return found


def parse(text: str) -> Page:
    """Parse a source. Raises KeyError if it has no title."""
    head, *parts = re.split(r"\n\n+", text.strip())
    properties = dict(line.split(": ", 1) for line in head.splitlines())
    blocks = tuple(_block(part) for part in parts)
    return Page(properties["title"], properties.get("author", ""), properties.get("subject", ""), blocks)


def _block(part: str) -> Block:
    if heading := _HEADING.fullmatch(part):
        return Heading(len(heading[1]), heading[2])
    if picture := _PICTURE.fullmatch(part):
        return Picture(picture[1], picture[2])
    if part.startswith("- "):
        return Items(tuple(item.replace("\n", " ") for item in re.split(r"\n?^- ", part, flags=re.MULTILINE)[1:]))
    if part.startswith("| "):
        return Table(tuple(_cells(line) for line in part.splitlines() if not line.startswith("| ---")))
    if part.startswith("> "):
        return Note(part.removeprefix("> "))
    return Paragraph(_runs(part.replace("\n", " ")))


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip("|").split("|"))


def _runs(text: str) -> tuple[tuple[str, str], ...]:
    """Split text into runs. `re.split` with two groups returns text, link text, target, text, …"""
    parts = LINK.split(text)
    plain = [(part, "") for part in parts[::3]]
    links = list(zip(parts[1::3], parts[2::3], strict=True))
    ordered = [run for pair in zip(plain, [*links, ("", "")], strict=True) for run in pair]
    return tuple(run for run in ordered if run[0])
