"""Counts as a picture: stacked bars and lines in SVG, inside Markdown, so that Dagster's UI shows them without a script."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

COLOURS = {
    "done": "#2e9e6b",
    "landed": "#2e9e6b",
    "live": "#2e9e6b",
    "ten_found": "#2e9e6b",
    "nine_found": "#a5d8c0",
    "fewer_found": "#d1495b",
    "unchanged": "#a5d8c0",
    "deleted": "#8d99ae",
    "tombstones": "#8d99ae",
    "superseded": "#8d99ae",
    "overtaken": "#8d99ae",
    "unknown-document": "#8d99ae",
    "waiting": "#f0a202",
    "behind": "#c9c9c9",
    "blocked": "#e3b7bd",
    "failed": "#d1495b",
    "dead-lettered": "#d1495b",
}
_WIDTH, _LEFT, _ROW = 320, 60, 44
_NAME, _CURVE, _NOTE, _LINE, _HEAD = 150, 240, 260, 28, 24
# legible on Dagster's light theme and on its dark one
_INK = "#808080"


def stacked(bars: Mapping[str, Mapping[str, int]]) -> str:
    """A Markdown image with one bar per name, its parts in proportion, and the counts below it; the alternative text has the counts."""
    rows = "".join(_bar(name, counts, number * _ROW) for number, (name, counts) in enumerate(bars.items()))
    words = "; ".join(f"{name}: {_words(counts)}" for name, counts in bars.items())
    return _image(rows, _LEFT + _WIDTH, len(bars) * _ROW, words)


def lines(rows: Sequence[tuple[str, Sequence[int], str]], title: str) -> str:
    """A Markdown image with one line per row: its name, its values from left (oldest) to right (now), and a note.

    Each row has its own scale, from 0 to its highest value, so that a small tenant's lag is visible next to a large one's.
    """
    head = f'<text x="0" y="14">{escape(title)}</text>'
    drawn = "".join(_line(name, values, note, _HEAD + number * _LINE) for number, (name, values, note) in enumerate(rows))
    words = "; ".join(f"{name}: {note}" for name, _, note in rows)
    return _image(head + drawn, _NAME + _CURVE + _NOTE, _HEAD + len(rows) * _LINE, words)


def pairs(rows: Sequence[tuple[str, float | None, float, float | None]], title: str, names: tuple[str, str]) -> str:
    """A Markdown image with two bars per row, between 0 and 1: what was and what is. A mark shows what the second has to reach.

    A row: its name, the two values, and that least value. `names`: of the two bars.
    """
    head = f'<text x="0" y="14">{escape(title)}</text>'
    drawn = "".join(_pair(row, names, _HEAD + number * _ROW) for number, row in enumerate(rows))
    words = "; ".join(f"{name}: {names[0]} {_number(first)}, {names[1]} {_number(second)}" for name, first, second, _ in rows)
    return _image(head + drawn, _NAME + _CURVE + _NOTE, _HEAD + len(rows) * _ROW, words)


def _pair(row: tuple[str, float | None, float, float | None], names: tuple[str, str], top: int) -> str:
    name, first, second, least = row
    passed = least is None or second >= least
    drawn = f'<text x="0" y="{top + 20}">{escape(name)}</text>'
    drawn += "" if first is None else _value(first, names[0], _INK, top)
    drawn += _value(second, names[1], COLOURS["done" if passed else "failed"], top + 18)
    mark = "" if least is None else f'<path d="M{_NAME + least * _CURVE:.1f} {top + 16}v20" stroke="{_INK}" stroke-width="2"/>'
    return drawn + mark


def _value(value: float, name: str, colour: str, top: int) -> str:
    bar = f'<rect x="{_NAME}" y="{top + 2}" width="{max(1.0, value * _CURVE):.1f}" height="14" fill="{colour}"/>'
    return bar + f'<text x="{_NAME + _CURVE + 8}" y="{top + 14}">{_number(value)} {escape(name)}</text>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _line(name: str, values: Sequence[int], note: str, top: int) -> str:
    highest, step = max(*values, 1), _CURVE / max(1, len(values) - 1)
    points = " ".join(
        f"{_NAME + number * step:.0f},{top + _LINE - 6 - value * (_LINE - 10) / highest:.0f}" for number, value in enumerate(values)
    )
    base = f'<path d="M{_NAME} {top + _LINE - 5.5}h{_CURVE}" stroke="{_INK}" stroke-opacity="0.4"/>'
    curve = f'<polyline points="{points}" fill="none" stroke="{COLOURS["waiting"]}" stroke-width="1.5"/>'
    texts = f'<text x="0" y="{top + 19}">{escape(name)}</text><text x="{_NAME + _CURVE + 8}" y="{top + 19}">{escape(note)}</text>'
    return base + curve + texts


def _image(drawn: str, width: int, height: int, words: str) -> str:
    attributes = f'width="{width}" height="{height}" font-family="sans-serif" font-size="12" fill="{_INK}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}>{drawn}</svg>'
    return f"![{words}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"


def _bar(name: str, counts: Mapping[str, int], top: int) -> str:
    parts = "".join(f'<rect x="{x:.1f}" y="{top + 4}" width="{w:.1f}" height="14" fill="{colour}"/>' for x, w, colour in _parts(counts))
    return f'<text x="0" y="{top + 15}">{name}</text>{parts}<text x="{_LEFT}" y="{top + 33}">{_words(counts)}</text>'


def _parts(counts: Mapping[str, int]) -> Iterator[tuple[float, float, str]]:
    """(x, width, colour) of each count above zero; at least 2 pixels wide, so that one failure in a million is visible."""
    shown = {name: count for name, count in counts.items() if count}
    free, total, x = _WIDTH - 2 * len(shown), sum(shown.values()), float(_LEFT)
    for name, count in shown.items():
        width = 2 + free * count / total
        yield x, width, COLOURS.get(name, _INK)
        x += width


def _words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "nothing"
