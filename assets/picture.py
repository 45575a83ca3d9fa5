"""Counts as a picture: stacked bars in SVG, inside Markdown, so that the UI shows them without asking anybody for a script."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping

COLOURS = {
    "done": "#2e9e6b",
    "landed": "#2e9e6b",
    "live": "#2e9e6b",
    "unchanged": "#a5d8c0",
    "deleted": "#8d99ae",
    "tombstones": "#8d99ae",
    "superseded": "#8d99ae",
    "overtaken": "#8d99ae",
    "waiting": "#f0a202",
    "behind": "#c9c9c9",
    "held_up": "#e3b7bd",
    "failed": "#d1495b",
    "dead-lettered": "#d1495b",
}
_WIDTH, _LEFT, _ROW = 320, 60, 44
# legible on Dagster's light theme and on its dark one
_INK = "#808080"


def stacked(bars: Mapping[str, Mapping[str, int]]) -> str:
    """A Markdown image with one bar per name, its parts in proportion, and the counts below each; in words where there are no pictures."""
    rows = "".join(_bar(name, counts, number * _ROW) for number, (name, counts) in enumerate(bars.items()))
    size = f'width="{_LEFT + _WIDTH}" height="{len(bars) * _ROW}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" fill="{_INK}">{rows}</svg>'
    words = "; ".join(f"{name}: {_words(counts)}" for name, counts in bars.items())
    return f"![{words}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"


def _bar(name: str, counts: Mapping[str, int], top: int) -> str:
    parts = "".join(f'<rect x="{x:.1f}" y="{top + 4}" width="{w:.1f}" height="14" fill="{colour}"/>' for x, w, colour in _parts(counts))
    return f'<text x="0" y="{top + 15}">{name}</text>{parts}<text x="{_LEFT}" y="{top + 33}">{_words(counts)}</text>'


def _parts(counts: Mapping[str, int]) -> Iterator[tuple[float, float, str]]:
    """(x, width, colour) of each count above zero; a small one keeps 2 pixels, so that one failure in a million is still seen."""
    shown = {name: count for name, count in counts.items() if count}
    free, total, x = _WIDTH - 2 * len(shown), sum(shown.values()), float(_LEFT)
    for name, count in shown.items():
        width = 2 + free * count / total
        yield x, width, COLOURS.get(name, _INK)
        x += width


def _words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "nothing"
