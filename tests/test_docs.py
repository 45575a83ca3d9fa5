"""The documentation: every relative link and anchor resolves, on a forge and in the site, and the site is built without the network."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
MODULE = re.compile(r"`([a-z]+(?:/[\w.]+)*/(?:[\w.]+\.(?:py|sql|toml|json|txt)|))`")
REMOTE = re.compile(r"""(?:src|href)=["'](?:https?:)?//[^"']*|url\(["']?(?:https?:)?//[^)]*|@import[^;]*//[^;]*""")


def test_there_are_pages() -> None:
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_and_anchor_resolves(page: Path) -> None:
    assert [link for link in links(page) if not resolves(page, link)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_and_folder_that_a_page_names_in_full_exists(page: Path) -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in {"docs", "build"}}
    named = {name for name in MODULE.findall(page.read_text(encoding="utf-8")) if name.split("/")[0] in folders}
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_every_page_is_in_the_sites_navigation_or_its_index() -> None:
    reachable = (ROOT / "properdocs.yml").read_text(encoding="utf-8") + (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if page.name not in reachable] == []


def test_a_word_of_the_glossary_has_one_entry_of_one_sentence() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    terms = Counter(term for term, _ in rows if term != "term")
    assert len(terms) > 100
    assert [term for term, count in terms.items() if count > 1] == []
    assert [term for term, meaning in rows if term != "term" and not re.fullmatch(r"[A-Z][^.]*(\.\w[^.]*)*\.", meaning)] == []


def test_the_site_builds_with_strict_links_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    from properdocs.commands.build import build
    from properdocs.config import load_config

    build(load_config(str(ROOT / "properdocs.yml"), strict=True, site_dir=str(tmp_path)))
    built = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.html")}
    assert {"index.html", "ARCHITECTURE.html", "docs/cli.html", "docs/glossary.html", "docs/decisions/index.html"} <= built
    loaded = [tag for path in tmp_path.rglob("*.*") if path.suffix in {".html", ".css"} for tag in loads(path)]
    assert loaded == []


def links(page: Path) -> list[str]:
    """The relative links of a page, those in code left out."""
    found = LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def resolves(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.is_relative_to(ROOT) and target.exists() and (not anchor or anchor in anchors(target))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub and GitLab make of a page's headings."""
    seen, found = Counter[str](), set[str]()
    fenced = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
    for heading in HEADING.findall(fenced.sub("", page.read_text(encoding="utf-8"))):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


def loads(path: Path) -> list[str]:
    """What a browser would load from another host for this file; a link that a person follows is no load."""
    text = re.sub(r"<a\b[^>]*>|<link\b[^>]*rel=[\"']canonical[\"'][^>]*>", "", path.read_text(encoding="utf-8"))
    return REMOTE.findall(text)
