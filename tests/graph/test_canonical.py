"""One spelling for each document: whatever equal spelling an id, an address or a link has, it meets the same document, and no other."""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from core.records import Block, Link, Redacted
from core.surrogates import TOKEN
from graph import canonical
from graph.extractors.links import Links
from graph.keys import KEY_CHARACTERS, address_key, document_key, link_key

EMAIL = "<EMAIL:a1b2c3d4e5f60718>"

HOSTS = {
    "wiki.example.com": ["wiki.example.com", "WIKI.Example.COM", "wiki%2Eexample.com", "wiki。example.com"],
    "xn--mnchen-3ya.example": [
        "münchen.example",
        "MÜNCHEN.example",
        "xn--mnchen-3ya.example",
        "mu\u0308nchen.example",
        "m%c3%bcnchen.EXAMPLE",
    ],
    "xn--fa-hia.example": ["faß.example", "XN--FA-HIA.example"],
    "[2001:db8::1]": ["[2001:db8::1]", "[2001:DB8:0:0::1]"],
    f"{EMAIL}.example": [f"{EMAIL}.example", f"{EMAIL}.EXAMPLE"],
}
# what may stand before a file's path
STARTS = {
    "path": ["", "/", "./", "../", "\\", "file:///", "FILE://localhost/", "file:/"],
    "drive": ["C:\\", "c:/", "file:///c:/", "file:///C|/", "FILE:C:/"],
    "share": ["\\\\server\\", "\\\\SERVER\\", "file://server/", "File://SERVER/"],
}
PORTS = {"http": [":80", ":080"], "https": [":443"], "ftp": [":21"]}


class Place(NamedTuple):
    """A document's place. `kind`: a scheme; or `path`, `drive` or `share` for files."""

    kind: str
    host: str
    segments: tuple[str, ...]
    query: str = ""

    @property
    def plain(self) -> str:
        """The id that a source writes, in its simplest spelling."""
        path = "/".join(self.segments)
        starts = {"path": "", "drive": "C:/", "share": f"file://{self.host}/"}
        return starts.get(self.kind, f"{self.kind}://{self.host}/") + path + self.query


# no character that separates parts of a URL, and none that could make a segment a scheme
_segment = st.text("abzABZ019._~-!$'()*,;=@+ üÜéñß漢😀Å", min_size=1, max_size=6).map(lambda text: unicodedata.normalize("NFC", text))
segments = st.lists(
    _segment.filter(lambda text: text.strip(" .") == text) | _segment.map(lambda text: f"x{EMAIL}{text}x"), min_size=1, max_size=4
).map(tuple)
queries = st.just("") | st.text("abAB01é", min_size=1, max_size=4).map(lambda value: f"?id={value}&x=1")
urls = st.builds(Place, st.sampled_from(["http", "https", "ftp"]), st.sampled_from(sorted(HOSTS)), segments, queries)
buckets = st.builds(Place, st.sampled_from(["s3", "gs", "hdfs"]), st.sampled_from(["bucket", "b.c-d"]), segments, queries)
files = st.builds(Place, st.sampled_from(["path", "drive", "share"]), st.just("server"), segments, st.just(""))
places = urls | buckets | files
choices = st.integers(0, 2**32 - 1).map(Random)


def spelled(place: Place, choice: Random) -> str:
    """A random equal spelling of a document's place."""
    if place.kind in STARTS:
        return choice.choice(STARTS[place.kind]) + _path(place.segments, choice, "/\\")
    slashes = "/\\" if place.kind in PORTS else "/"
    userinfo = choice.choice(["", "jo:secret@", "token@"])
    host = choice.choice(HOSTS.get(place.host, [place.host, place.host.upper()]))
    port = choice.choice(["", *PORTS.get(place.kind, [])])
    path, query = _path(place.segments, choice, slashes), _escaped(place.query, choice, "?=&")
    return f"{_any_case(place.kind, choice)}://{userinfo}{host}{port}/{path}{query}"


def _path(segments: Sequence[str], choice: Random, slashes: str) -> str:
    """The path with escapes, runs of slashes, steps that lead nowhere, and perhaps a slash at its end."""
    path = _escaped(segments[0], choice)
    for segment in segments[1:]:
        path += choice.choice(slashes) + choice.choice(["", "/", "./", "%2E/", "x/../", "ü/%2e./"]) + _escaped(segment, choice)
    return f"{path}{choice.choice(['', '', *slashes])}"


def _any_case(text: str, choice: Random) -> str:
    return "".join(choice.choice([character.lower(), character.upper()]) for character in text)


def _escaped(text: str, choice: Random, kept: str = "") -> str:
    """The text in one of its normal forms, any of its characters escaped, in either case; surrogates stand in texts as they are."""
    return EMAIL.join("".join(_escape(character, choice, kept) for character in _in_a_form(piece, choice)) for piece in text.split(EMAIL))


def _in_a_form(text: str, choice: Random) -> str:
    return unicodedata.normalize("NFC" if choice.random() < 0.5 else "NFD", text)


def _escape(character: str, choice: Random, kept: str) -> str:
    if character in kept or choice.random() < 0.7:
        return character
    return "".join(_any_case(f"%{byte:02x}", choice) for byte in character.encode())


def ends(document: Redacted, *kinds: str) -> set[str]:
    return {relation.target for relation in Links().extract(document, []).relations if relation.kind in kinds}


def names_of(name: str, uri: str = "") -> set[str]:
    """The nodes that stand for a document."""
    return {document_key(name)} | ends(Redacted(name, (), uri=uri), "KNOWN_AS")


def linked(name: str, link: str, uri: str = "") -> set[str]:
    """The nodes that a document's link ends at."""
    return ends(Redacted(name, (Block("paragraph", "x", links=(Link("x", link),)),), uri=uri), "LINKS_TO", "REFERS_TO")


@given(places, choices)
def test_every_spelling_of_an_id_is_the_same_document(place: Place, choice: Random) -> None:
    spelling = spelled(place, choice)
    assert document_key(spelling) == document_key(place.plain)
    assert address_key(spelling) == address_key(place.plain)


@given(places, choices, st.sampled_from(["", "#part", "#"]))
def test_a_link_in_any_spelling_meets_its_document_wherever_it_is_written(place: Place, choice: Random, fragment: str) -> None:
    link = spelled(place, choice) + fragment
    # a relative path means the document only in its own folder
    bases = ["index.md"] if place.kind == "path" else ["index.md", "s3://other/a/b.md", "https://other.example/a/b", "jira:ABC-1"]
    for base in bases:
        assert linked(base, link) & names_of(spelled(place, choice)), base
        assert linked(base, link) & names_of("elsewhere.md", uri=spelled(place, choice)), base


@given(places, choices, segments)
def test_a_relative_link_in_any_spelling_meets_its_document(place: Place, choice: Random, other: tuple[str, ...]) -> None:
    source, goal = place._replace(query=""), place._replace(segments=other, query="")
    assume(source != goal)
    written = tuple(posixpath.relpath("/".join(other), posixpath.dirname("/".join(place.segments)) or ".").split("/"))
    link = f"./{_path(written, choice, '/')}"
    assert linked(source.plain, link) & names_of(spelled(goal, choice))
    assert linked("17", link, uri=source.plain) & names_of("18", uri=spelled(goal, choice))


@given(places, places)
def test_different_documents_stay_different(one: Place, other: Place) -> None:
    assume(one != other)
    assert document_key(one.plain) != document_key(other.plain)
    assert not names_of(one.plain) & names_of(other.plain)


@given(places)
def test_case_query_and_scheme_distinguish_documents(place: Place) -> None:
    others = {place._replace(segments=tuple(segment.swapcase() for segment in place.segments)), place._replace(query="?id=other")}
    others |= {place._replace(kind="ws")} if place.kind in PORTS else set()
    for other in others - {place}:
        assert document_key(other.plain) != document_key(place.plain)


# pieces in which parsers of addresses disagree, beside any text
_pieces = st.sampled_from(
    [
        *("http:", "https://", "file:", "s3://", "urn:", "jira:", "mailto:", "abfss://", "//", "/", "\\", "\\\\", "C:", "c|", ".", ".."),
        *("%2e", "%2F", "%5c", "%25", "%", "%c3%9c", "%C3", "%00", "%40", "%3A", "%20", "?", "#", "&", "=", "+", ";", ":", "@", "[", "]"),
        *("|", "::1", "8080", "xn--", "Ü", "U\u0308", "\u0338", "İ", "ß", "ａ", "。", "\u200d", " ", "\t", "\n", "\x00", "\x7f", "\ud800"),
        *(EMAIL, "<EMAIL>", "%3CEMAIL:a1b2c3d4e5f60718%3E", "a", "B"),
    ]
)
anything = st.lists(_pieces, max_size=10).map("".join) | st.text(max_size=30)


@given(anything)
@example("s3://%40")
@example("http:@//@//\ud800")
@example("%" * 5000)
def test_the_canonical_form_of_any_id_is_its_own(text: str) -> None:
    once = canonical.name(text)
    assert canonical.name(once) == once
    assert document_key(text) == document_key(once)


@given(anything, anything)
def test_any_link_in_any_document_has_a_canonical_key_or_none(name: str, link: str) -> None:
    key = link_key(name, link)
    assert key is None or key.startswith(("document:", "URL:"))
    form = canonical.target(name, link)
    assert form is None or canonical.name(form) == form


@given(anything.filter(lambda text: not set("@#.") & set(text)), anything.filter(lambda text: not set("@#.") & set(text)))
def test_surrogates_stay_whole(before: str, after: str) -> None:
    text = f"{before.replace('%', '')}{EMAIL}{after.replace('%', '')}"
    assert TOKEN.findall(canonical.name(text)) == TOKEN.findall(text)


@given(
    st.sampled_from(["https", "s3", "ssh", "git+ssh"]), st.text("ab:@%4!", max_size=8), st.sampled_from(["h.example/x", "[broken", "h:p/"])
)
def test_credentials_are_in_no_key(scheme: str, more: str, rest: str) -> None:
    written = f"{scheme}://{more}s3cr3t@{rest}"
    for key in (document_key(written), address_key(written), link_key("a.md", written)):
        assert key is None or "s3cr3t" not in key


@pytest.mark.parametrize(
    "text", ["a\u0300" + "\u0323\u0301" * 500_000, "../" * 400_000, "http:" + "@//" * 400_000 + "[" + "x" * 9_000, "%c3%9c" * 200_000]
)
def test_an_enormous_text_has_a_key_too(text: str) -> None:
    assert len(document_key(text)) == KEY_CHARACTERS
    assert document_key(text) != document_key(text + "x")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("HTTPS://Jo:pw@MÜNCHEN.example:443/%c3%9cber//b/../c?q=%7e%26", "https://xn--mnchen-3ya.example/Über/c?q=~%26"),
        ("https://example.com", "https://example.com/"),
        ("https://example.com/a/", "https://example.com/a"),
        ("s3://bucket", "s3://bucket/"),
        ("https://example.com/a%2Fb", "https://example.com/a%2Fb"),
        ("s3://Bucket/docs/a.md", "s3://bucket/docs/a.md"),
        ("abfss://raw@account.dfs.core.windows.net/a", "abfss://raw@account.dfs.core.windows.net/a"),
        ("/srv/docs/a.md", "srv/docs/a.md"),
        ("file:///srv/docs/a.md", "srv/docs/a.md"),
        ("docs/", "docs"),
        ("/", "/"),
        (r"c:\docs\a.md", "C:/docs/a.md"),
        (r"\\Server\share\a.md", "file://server/share/a.md"),
        ("C#/100% sure.md", "C%23/100%25 sure.md"),
        ("a%2520b", "a%2520b"),
        ("index.php?id=3", "index.php?id=3"),
        ("RE: budget.eml", "RE: budget.eml"),
        ("jira:ABC-1", "jira:ABC-1"),
        ("./jira:ABC-1", "jira:ABC-1"),
        ("./http://x", "http%3A/x"),
        ("faq/What is a lien?", "faq/What is a lien%3F"),
        ("file:///faq/What is a lien?.md", "faq/What is a lien%3F.md"),
        (f"https://{EMAIL}.example:8080/{EMAIL}?to={EMAIL}", f"https://{EMAIL}.example:8080/{EMAIL}?to={EMAIL}"),
        ("http://jo:pw@[broken", "http://[broken"),
    ],
)
def test_canonical_forms(text: str, form: str) -> None:
    assert canonical.name(text) == form
