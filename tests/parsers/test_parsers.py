"""Parsing: formats become blocks, every failure has a reason, and workers are confined.

The documents are real, written here by the libraries of their formats.
"""

from __future__ import annotations

import csv
import ctypes
import errno
import io
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path

import polars as pl
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config import Parsing
from core.errors import DocumentError, Unavailable
from core.frames import FETCHED, RESULT
from core.records import Block, Content, Link, decode
from parsers import REASONS, Format, WorkerPool, detect, fingerprint, parse
from parsers.text import plain
from tests.documents import book, linked, message, open_text, printed, sheets, slides, word, zipped

pytestmark = pytest.mark.slow

SECRET = "Zebulon Quimby"
TINY = b"# Title\n\nText.\n"
# a megabyte that takes the HTML reader several seconds
HEAVY = b"<!doctype html>" + b"<div>" * 200_000


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(Parsing(workers=2, timeout_s=60, memory_mb=2048)) as running:
        yield running


@pytest.fixture
def read(pool: WorkerPool) -> Callable[..., Content]:
    def _read(content: bytes | str, name: str = "", media_type: str = "") -> Content:
        raw = content.encode() if isinstance(content, str) else content
        return decode(pool.parse(raw, media_type, name), Content)

    return _read


@pytest.fixture
def reason(pool: WorkerPool) -> Callable[..., str]:
    def _reason(content: bytes, name: str = "", media_type: str = "") -> str:
        with pytest.raises(DocumentError) as failure:
            pool.parse(content, media_type, name)
        assert failure.value.reason in REASONS
        return failure.value.reason

    return _reason


def outline(content: Content) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in content.blocks]


def of_kind(content: Content, kind: str) -> list[Block]:
    return [block for block in content.blocks if block.kind == kind]


def links(content: Content) -> list[Link]:
    return [link for block in content.blocks for link in block.links]


# each format


def test_markdown(read: Callable[..., Content]) -> None:
    source = (
        "---\nauthor: Ada Pool\ntags: [a, b]\n---\n# The *weir*\n\nWrite to ada@example.org or see [the **rules**](https://example.org/r), "
        "`dict`s and un**break**able.\n\n1. one\n   - below\n2. two\n\n| a | b |\n|---|---|\n| 1 | [x](https://e.org/x) |\n\n"
        "```python\nif x:\n    y()\n```\n\n## Next\n\n![A red square](https://example.org/red.png)\n"
    )
    content = read(source, "a.md")
    assert outline(content) == [
        ("heading", "The weir"),
        ("paragraph", "Write to ada@example.org or see the rules, dicts and unbreakable."),
        ("list_item", "1. one"),
        ("list_item", "below"),
        ("list_item", "2. two"),
        ("table", ""),
        ("code", "if x:\n    y()"),
        ("heading", "Next"),
        ("caption", "A red square"),
    ]
    assert [block.level for block in content.blocks if block.level] == [1, 1, 2, 1, 2]
    assert of_kind(content, "table")[0].rows == (("a", "b"), ("1", "x"))
    targets = [("ada@example.org", "mailto:ada@example.org"), ("the rules", "https://example.org/r"), ("x", "https://e.org/x")]
    assert [(link.text, link.target) for link in links(content)] == targets
    assert (content.title, content.properties) == ("The weir", {"author": "Ada Pool", "tags": "a, b"})


def test_html_keeps_content_and_drops_navigation_and_scripts(read: Callable[..., Content]) -> None:
    source = (
        "<html><head><title>Tab</title><meta name=author content='Ada Pool'><script>var x</script></head><body><nav>Home</nav>"
        "<p>Before any heading.</p><h2>Sub<b>title</b></h2><p>“Quoted” — <a href='/r'>a <i>link</i></a>, twice<br>broken</p>"
        "<figure><img src='https://example.org/a.png'><figcaption>The plan</figcaption></figure><footer>Imprint</footer></body></html>"
    )
    content = read(source, "a.html")
    assert outline(content) == [
        ("paragraph", "Before any heading."),
        ("heading", "Subtitle"),
        ("paragraph", "“Quoted” — a link, twice\nbroken"),
        ("caption", "The plan"),
    ]
    assert links(content) == [Link("a link", "/r")]
    assert content.properties == {"title": "Tab", "author": "Ada Pool"}


def test_html_in_the_encoding_it_declares(read: Callable[..., Content]) -> None:
    page = "<html><head><meta charset=iso-8859-2></head><body><p>Žluťoučký kůň</p></body></html>"
    assert read(page.encode("iso-8859-2"), "a.html").blocks[0].text == "Žluťoučký kůň"


def test_restructured_text(read: Callable[..., Content]) -> None:
    source = (
        "PEP: 8\nTitle: Style\nAuthor: Ada Pool <ada@example.org>\n\nIntroduction\n============\n\nHard\nwrapped :pep:`20`, "
        "``dict``\\ s and\n:class:`~a.b.C`.\n\n- point\n\n  - below\n\n"
        ".. code-block:: python\n   :emphasize-lines: 1\n\n   x = 1\n\nDeeper\n------\n\n"
        ".. versionadded:: 3\n   Kept.\n\n=====  =====\npart   price\n=====  =====\nrake   12\n=====  =====\n"
    )
    content = read(source, "pep-0008.rst")
    assert outline(content) == [
        ("paragraph", "PEP: 8\nTitle: Style\nAuthor: Ada Pool <ada@example.org>"),
        ("heading", "Introduction"),
        ("paragraph", "Hard wrapped PEP 20, dicts and C."),
        ("list_item", "point"),
        ("list_item", "below"),
        ("code", "x = 1"),
        ("heading", "Deeper"),
        ("paragraph", "3 Kept."),
        ("table", ""),
    ]
    assert content.blocks[-1].rows == (("part", "price"), ("rake", "12"))
    assert Link("PEP 20", "https://peps.python.org/pep-0020") in links(content)
    assert Link("ada@example.org", "mailto:ada@example.org") in links(content)
    assert (content.title, content.properties["author"]) == ("Style", "Ada Pool <ada@example.org>")


def test_restructured_text_reads_no_other_file(read: Callable[..., Content], tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(SECRET)
    source = f".. include:: {other}\n\n.. raw:: html\n   :file: {other}\n\n.. csv-table::\n   :file: {other}\n\nText.\n"
    content = read(source, "a.rst")
    assert SECRET not in str(content)
    assert ("paragraph", "Text.") in outline(content)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "cp1252", "iso-8859-1"])
def test_plain_text_in_any_encoding(read: Callable[..., Content], encoding: str) -> None:
    text = "Größe und Höhe der Wehrkrone.\r\nZweite Zeile: das Maß für die Öffnung.\r\n\r\n \r\nÄußerer Absatz über die Mühle.\r\n"
    expected = ["Größe und Höhe der Wehrkrone.\nZweite Zeile: das Maß für die Öffnung.", "Äußerer Absatz über die Mühle."]
    assert [block.text for block in read(text.encode(encoding), "a.txt").blocks] == expected


def test_source_code_keeps_its_lines(read: Callable[..., Content]) -> None:
    assert outline(read("def f():\n\n    return 1\n", "a.py", "text/x-python")) == [("code", "def f():\n\n    return 1")]


_CELLS = st.text(st.sampled_from("ab1 ,;|\t\"'\n"), min_size=1, max_size=8).map(str.strip).filter(bool)


@given(st.integers(2, 4).flatmap(lambda width: st.lists(st.tuples(*[_CELLS] * width), min_size=1, max_size=5)), st.sampled_from(",;\t|"))
def test_no_cell_of_a_quoted_table_moves_whatever_stands_in_it(rows: list[tuple[str, ...]], delimiter: str) -> None:
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    assert plain.table(written.getvalue().encode()).blocks[0].rows == tuple(rows)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('remark,SSN\n"asked, twice",1\n"Said ""no, thanks"" and left",2\n', (("asked, twice", "1"), ('Said "no, thanks" and left', "2"))),
        ("name;price\nrake;1,5\nhoe;2\n", (("rake", "1,5"), ("hoe", "2"))),
        ("name,note\nx;y,1|2\nz,3\n", (("x;y", "1|2"), ("z", "3"))),
        ('size\tname\n5" pipe\ta, b\n', (('5" pipe', "a, b"),)),
    ],
)
def test_the_delimiter_is_the_one_the_rows_agree_on(written: str, expected: tuple[tuple[str, ...], ...]) -> None:
    assert plain.table(written.encode()).blocks[0].rows[1:] == expected


def test_comma_separated_values(read: Callable[..., Content]) -> None:
    assert read('part;price\n"rake; big";12\n', "a.csv").blocks[0].rows == (("part", "price"), ("rake; big", "12"))


def test_word(read: Callable[..., Content]) -> None:
    content = read(word(), "a.docx")
    assert outline(content) == [
        ("heading", "Handbook"),
        ("heading", "First steps"),
        ("paragraph", "The unbreakable rule, see the site."),
        ("list_item", "a point"),
        ("list_item", "a point below"),
        ("caption", "A red square"),
        ("table", ""),
    ]
    assert [block.level for block in content.blocks[:5]] == [1, 2, 0, 1, 2]
    assert content.blocks[-1].rows == (("part", "price"), ("rake", "12"))
    assert links(content) == [Link("the site", "https://example.org/rules")]
    assert content.title == "Handbook"
    assert (content.properties["author"], content.properties["subject"]) == ("Ada Pool", "Turbines")


def test_slides_have_pages(read: Callable[..., Content]) -> None:
    content = read(slides(), "a.pptx")
    headings = [(block.text, block.page) for block in of_kind(content, "heading")]
    assert headings == [("Before water", 1), ("After water", 2)]
    assert [block.text for block in of_kind(content, "list_item")] == ["Coupling aligned", "Guide vanes closed"]
    assert (content.title, content.properties["author"]) == ("Before water", "Ada Pool")


def test_sheets_are_tables_under_their_names(read: Callable[..., Content]) -> None:
    content = read(sheets(), "a.xlsx")
    assert outline(content) == [("heading", "Spare parts"), ("table", "")]
    assert content.blocks[1].rows == (("part", "price"), ("rake", "12"), ("seal", "7.5"))
    assert content.title == "Prices"


def test_pdf_lines_become_paragraphs_with_pages_and_links(read: Callable[..., Content]) -> None:
    content = read(printed(), "a.pdf")
    assert [(block.kind, block.text, block.page) for block in content.blocks] == [
        ("heading", "First steps", 1),
        ("paragraph", ("The rake is cleaned before the first water. " * 6).strip(), 1),
        ("paragraph", "See the rules online.", 1),
        ("paragraph", "On the second page.", 2),
    ]
    assert links(content) == [Link("See the rules online.", "https://example.org/rules")]
    assert (content.title, content.properties["author"]) == ("Handbook", "Ada Pool")


def test_message_keeps_its_headers_and_lists_its_attachments(read: Callable[..., Content]) -> None:
    content = read(message(), "a.eml")
    assert outline(content) == [
        ("heading", "Grüße from the weir"),
        ("paragraph", "From: Ada Pool <ada@example.org>\nTo: ops@example.org\nDate: Tue, 03 Mar 2026 09:12:00 +0000"),
        ("paragraph", "Dear all,"),
        ("paragraph", "the rake is clean."),
        ("heading", "Attachments"),
        ("list_item", "rake.pdf"),
    ]
    assert content.title == "Grüße from the weir"
    assert {"from", "to", "date", "subject"} <= content.properties.keys()


def test_message_with_html_alone(read: Callable[..., Content]) -> None:
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "ada@example.org", "Weir"
    mail.set_content("<p>See <a href='https://example.org/r'>the rules</a>.</p>", subtype="html")
    content = read(mail.as_bytes(), "a.eml")
    assert outline(content)[-1] == ("paragraph", "See the rules.")
    assert links(content) == [Link("the rules", "https://example.org/r")]


def test_book(read: Callable[..., Content]) -> None:
    content = read(book(), "a.epub")
    assert outline(content) == [("heading", "The head"), ("paragraph", "Measure it twice.")]
    assert content.properties == {"title": "Field guide", "author": "Ada Pool"}


def test_open_document(read: Callable[..., Content]) -> None:
    pytest.importorskip("odfdo")
    assert outline(read(open_text(), "a.odt")) == [("heading", "Rules"), ("paragraph", "No swimming.")]


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        (
            "a.adoc",
            "= The weir\n\n== Rules\n\nNo swimming.\n",
            [("heading", "The weir"), ("heading", "Rules"), ("paragraph", "No swimming.")],
        ),
        (
            "a.tex",
            "\\documentclass{article}\n\\begin{document}\n\\section{Rules}\nNo swimming.\n\\end{document}\n",
            [("heading", "Rules"), ("paragraph", "No swimming.")],
        ),
        ("a.vtt", "WEBVTT\n\n00:00.000 --> 00:02.000\nNo swimming.\n", [("paragraph", "No swimming.")]),
        (
            "a.mht",
            'MIME-Version: 1.0\nContent-Type: multipart/related; boundary="x"; type="text/html"\n\n--x\nContent-Type: text/html\n\n'
            "<html><body><h1>Rules</h1><p>No <b>swimming</b>.</p></body></html>\n--x--\n",
            [("heading", "Rules"), ("paragraph", "No swimming.")],
        ),
    ],
)
def test_smaller_formats(read: Callable[..., Content], name: str, source: str, expected: list[tuple[str, str]]) -> None:
    assert outline(read(source, name)) == expected


def test_article(read: Callable[..., Content]) -> None:
    source = (
        '<?xml version="1.0"?><!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) v1.2//EN" "JATS.dtd">'
        '<article article-type="research-article">'
        "<front><article-meta><title-group><article-title>On weirs</article-title></title-group></article-meta></front>"
        "<body><sec><title>Rules</title><p>No swimming.</p></sec></body></article>"
    )
    content = read(source, "a.xml", "application/xml")
    assert content.title == "On weirs"
    assert ("paragraph", "No swimming.") in outline(content)


# format detection


@pytest.mark.parametrize(
    ("content", "media_type", "name", "expected"),
    [
        (b"plain", "text/plain", "a.md", Format.MARKDOWN),
        (b"plain", "text/markdown; charset=utf-8", "a.txt", Format.MARKDOWN),
        (b"plain", "", "", Format.TEXT),
        (b"plain", "application/octet-stream", "A.RST", Format.RESTRUCTURED),
        (b"{}", "application/json", "", Format.JSON),
        (b"{}", "application/geo+json; charset=utf-8", "", Format.JSON),
        (b"<a/>", "text/plain", "a.xml", Format.XML),
        (b"<?xml version='1.0'?><a/>", "", "", Format.XML),
        (b"a: 1", "application/yaml", "", Format.CODE),
        (b"1\n00:00:01,000 --> 00:00:02,000\nx\n", "text/plain", "a.txt", Format.SUBRIP),
        (b"a,b\n", "text/csv", "a.txt", Format.CSV),
        (b"\n<!-- x --><!DOCTYPE html><p>x", "text/plain", "a.md", Format.HTML),
        (b"WEBVTT\n\n", "text/plain", "a.txt", Format.VTT),
        (b"From: a@example.org\nSubject: x\nTo: b@example.org\n\nbody", "", "message", Format.EMAIL),
        (b"PEP: 8\nTitle: Style\n\nx", "text/plain", "pep", Format.RESTRUCTURED),
    ],
)
def test_format_of_text(content: bytes, media_type: str, name: str, expected: Format) -> None:
    assert detect(content, media_type, name) is expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (word, Format.DOCX),
        (slides, Format.PPTX),
        (sheets, Format.XLSX),
        (printed, Format.PDF),
        (book, Format.EPUB),
        (open_text, Format.ODT),
    ],
)
@pytest.mark.parametrize(("media_type", "name"), [("text/plain", "a.txt"), ("application/pdf", "a.pdf"), ("", "a.docx")])
def test_content_overrules_a_wrong_name_and_type(document: Callable[[], bytes], expected: Format, media_type: str, name: str) -> None:
    assert detect(document(), media_type, name) is expected


def test_document_with_a_wrong_extension_is_parsed_by_its_content(read: Callable[..., Content]) -> None:
    assert read(word(), "a.txt", "text/plain").title == "Handbook"


# reasons


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"", "a.pdf", "empty-document"),
        (b" \n\t\n", "a.docx", "empty-document"),
        (b"7z\xbc\xaf\x27\x1c", "a.7z", "unsupported-media-type"),
        (b"\x00\x01\x02\x03\xff" * 50, "a.txt", "unsupported-media-type"),
        (zipped({"mimetype": "application/vnd.oasis.opendocument.graphics"}), "a.odg", "unsupported-media-type"),
        (word()[:5000], "a.docx", "corrupt-document"),
        (printed()[:300], "a.pdf", "corrupt-document"),
        (printed("secret"), "a.pdf", "encrypted-document"),
        (open_text(encrypted=True), "a.odt", "encrypted-document"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_failure_has_its_reason(reason: Callable[..., str], content: bytes, name: str, expected: str) -> None:
    assert reason(content, name) == expected


def test_error_details_contain_nothing_of_the_document(pool: WorkerPool) -> None:
    broken = zipped({"[Content_Types].xml": f"<Types>{SECRET}", "word/document.xml": f"<{SECRET}"})
    with pytest.raises(DocumentError) as failure:
        pool.parse(broken, "", f"{SECRET}.docx")
    assert failure.value.reason == "corrupt-document"
    assert not any(part in str(failure.value) for part in SECRET.split())


def test_content_beyond_the_limit_is_refused() -> None:
    with WorkerPool(Parsing(workers=1, max_bytes=10)) as small, pytest.raises(DocumentError) as failure:
        small.parse(b"x" * 11, "text/plain", "")
    assert failure.value.reason == "document-too-large"


# frames


def fetched(*documents: tuple[bytes, str]) -> pl.DataFrame:
    rows = [(f"{at:032x}", f"key-{at}", "", name, content) for at, (content, name) in enumerate(documents)]
    return pl.DataFrame(rows, schema=dict(FETCHED), orient="row")


def test_failures_and_successes_are_returned_in_order(pool: WorkerPool) -> None:
    frame = fetched((TINY, "a.md"), (word()[:500], "b.docx"), (b"", "c.pdf"), (word(), "d.docx"))
    result = parse(frame, pool)
    assert result.schema == pl.Schema(dict(RESULT))
    assert result["document"].to_list() == frame["document"].to_list()
    assert result["input_key"].to_list() == frame["input_key"].to_list()
    assert result["reason"].to_list() == [None, "corrupt-document", "empty-document", None]
    assert [payload is not None for payload in result["payload"]] == [True, False, False, True]
    assert decode(result["payload"][0], Content).title == "Title"
    assert (result["seconds"] > 0).all()


def test_empty_frame_yields_an_empty_result(pool: WorkerPool) -> None:
    assert parse(fetched(), pool).schema == pl.Schema(dict(RESULT))


def test_same_bytes_yield_the_same_payload_in_every_process(pool: WorkerPool) -> None:
    documents = [
        (content, name)
        for content, name in ((word(), "a"), (slides(), "b"), (sheets(), "c"), (printed(), "d"), (book(), "e"))
        for _ in "12"
    ]
    payloads = parse(fetched(*documents), pool)["payload"].to_list()
    assert None not in payloads
    assert payloads[0::2] == payloads[1::2]


def test_fingerprint_is_stable() -> None:
    assert fingerprint() == fingerprint()
    assert len(bytes.fromhex(fingerprint())) == 16


MARKUP = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("#*_`[]()<>|-=~:. \n\t&;!")), max_size=200)


@pytest.mark.parametrize("name", ["a.md", "a.txt", "a.rst", "a.html"])
def test_any_text_is_parsed_or_refused_deterministically(pool: WorkerPool, name: str) -> None:
    def outcome(content: bytes) -> bytes | str:
        try:
            return pool.parse(content, "", name)
        except DocumentError as error:
            return error.reason

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(MARKUP)
    def check(text: str) -> None:
        content = text.encode("utf-8", "surrogatepass")
        first = outcome(content)
        assert first == outcome(content)
        assert first not in {"parse-crashed", "parse-timeout", "parse-out-of-memory"}

    check()


# confinement


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        threading.Event().wait(0.02)


def test_slow_document_times_out_and_the_next_is_read() -> None:
    with WorkerPool(Parsing(workers=1, timeout_s=1)) as impatient:
        impatient.parse(b"<p>warm", "text/html", "")
        with pytest.raises(DocumentError) as failure:
            impatient.parse(HEAVY, "text/html", "")
        assert failure.value.reason == "parse-timeout"
        assert impatient.parse(b"next", "text/plain", "")


def test_document_that_exceeds_memory_fails_and_the_next_is_read() -> None:
    bomb = b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
    bomb += b"<w:p><w:r><w:t>x</w:t></w:r></w:p>" * 2_500_000 + b"</w:body></w:document>"
    with zipfile.ZipFile(io.BytesIO(word())) as archive:
        members: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    with WorkerPool(Parsing(workers=1, memory_mb=512)) as small:
        with pytest.raises(DocumentError) as failure:
            small.parse(zipped({**members, "word/document.xml": bomb}), "", "a.docx")
        assert failure.value.reason == "parse-out-of-memory"
        assert small.parse(b"next", "text/plain", "")


def test_killed_worker_fails_only_its_document() -> None:
    with WorkerPool(Parsing(workers=1)) as pool:
        pool.parse(b"<p>warm", "text/html", "")
        (pid,) = pool.pids
        worker = psutil.Process(pid)
        before = worker.cpu_times().user

        def kill_while_busy() -> None:
            until(lambda: worker.cpu_times().user > before + 0.3)
            os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_while_busy)
        killer.start()
        result = parse(fetched((HEAVY, "a.html"), (TINY, "b.md"), (TINY, "c.md")), pool)
        killer.join()
        assert result["reason"].to_list() == ["parse-crashed", None, None]
        assert pid not in pool.pids


def test_a_worn_worker_is_replaced_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parsers.workers.process._DOCUMENTS_PER_PROCESS", 3)
    with WorkerPool(Parsing(workers=2)) as pool:
        assert pool.parse(TINY, "", "a.md")
        (first,) = pool.pids
        # it is worn from the third document on, and continues until its replacement is ready
        until(lambda: bool(pool.parse(TINY, "", "a.md")) and first not in pool.pids)
        assert all(pool.parse(TINY, "", "a.md") for _ in range(8))


def test_workers_die_with_their_parent_even_while_parsing(tmp_path: Path) -> None:
    program = (
        "import sys, threading\nfrom core.config import Parsing\nfrom parsers import WorkerPool\npool = WorkerPool(Parsing(workers=1))\n"
        "pool.parse(b'<p>warm', 'text/html', '')\nprint(*pool.pids, flush=True)\n"
        "pool.parse(b'<!doctype html>' + b'<div>' * 200_000, 'text/html', '')\n"
    )
    command, place = [sys.executable, "-c", program], Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=place, env={**os.environ, "TMPDIR": str(tmp_path)}) as parent:
        assert parent.stdout
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([worker], timeout=30)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_close_leaves_no_process_and_no_folder_and_is_idempotent() -> None:
    pool = WorkerPool(Parsing(workers=2))
    parse(fetched((TINY, "a.txt"), (TINY, "b.txt"), (TINY, "c.txt")), pool)
    workers = [psutil.Process(pid) for pid in pool.pids]
    folders = {Path(worker.cwd()) for worker in workers}
    pool.close()
    pool.close()
    assert workers
    assert not any(worker.is_running() for worker in workers)
    assert not any(folder.exists() for folder in folders)
    with pytest.raises(Unavailable):
        pool.parse(TINY, "", "a.md")


def test_close_while_parsing_raises_unavailable_and_does_not_fail_the_document() -> None:
    pool = WorkerPool(Parsing(workers=1))
    pool.parse(b"<p>warm", "text/html", "")
    worker = psutil.Process(pool.pids[0])
    before = worker.cpu_times().user

    def close_while_busy() -> None:
        until(lambda: worker.cpu_times().user > before + 0.2)
        pool.close()

    closer = threading.Thread(target=close_while_busy)
    closer.start()
    with pytest.raises(Unavailable):
        parse(fetched((HEAVY, "a.html")), pool)
    closer.join()


def test_worker_environment_contains_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MASTER_KEY", "a-master-key")
    with WorkerPool(Parsing(workers=1)) as pool:
        pool.parse(b"text", "text/plain", "")
        environment = psutil.Process(pool.pids[0]).environ()
    assert "a-master-key" not in environment.values()
    assert environment["HF_HUB_OFFLINE"] == "1"


def test_nothing_that_a_document_refers_to_is_fetched(read: Callable[..., Content]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a"
        read(f"<link rel=stylesheet href='{url}.css'><img src='{url}.png' alt=x><iframe src='{url}'></iframe><p>x", "a.html")
        read(f"![x]({url}.png)\n\nText", "a.md")
        read(f".. image:: {url}.png\n   :alt: x\n\n.. csv-table::\n   :url: {url}\n", "a.rst")
        read(f"= T\n\nimage::{url}.png[]\n\ninclude::{url}[]\n\nText\n", "a.adoc")
        read(
            f'<?xml version="1.0"?><!DOCTYPE article SYSTEM "{url}.dtd"><article article-type="x"><body><p>x</p></body></article>', "a.xml"
        )
        read(
            f"Content-Type: multipart/related; boundary=x\n\n--x\nContent-Type: text/html\n\n<img src='{url}'>x\n--x--\n",
            "a.mht",
        )
        xml = f'<?xml version="1.0"?><?xml-stylesheet href="{url}.xsl"?><!DOCTYPE a SYSTEM "{url}.dtd"><a xmlns:i="http://www.w3.org/2001/XInclude">'
        read(f'{xml}<i:include href="{url}"/>x</a>', "a.xml")
        read(linked(f"{url}.png"), "a.docx")
        with pytest.raises(BlockingIOError):
            server.accept()


def test_entities_that_refer_to_local_files_are_not_read(pool: WorkerPool, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    entity = f'<!DOCTYPE article [<!ENTITY x SYSTEM "file://{tmp_path / "secret"}">]>'
    article = f'<?xml version="1.0"?>{entity}<article article-type="x"><body><p>Before &x; after.</p></body></article>'
    result = parse(fetched((article.encode(), "a.xml")), pool)
    assert b"Before" in result["payload"][0]
    assert SECRET.encode() not in result["payload"][0]


def test_confined_process_cannot_open_a_socket_start_a_program_or_write_a_file(tmp_path: Path) -> None:
    program = f"""
import errno, os, socket, subprocess
from parsers.workers import confinement
confinement.confine(1024)
def refused(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
def write():
    with open({str(tmp_path / "a")!r}, "wb", 0) as file:
        file.write(b"x")
print(refused(socket.socket), refused(lambda: subprocess.run(["true"])), refused(write))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    socket_, program_, file_ = done.stdout.split()
    # Landlock refuses to open the file; without it, the limit on file size refuses the write
    assert (socket_, program_, file_ in {"EACCES", "EFBIG"}) == ("EACCES", "EACCES", True)


def filters_system_calls() -> bool:
    """Whether this kernel supports seccomp filters: if it does, it fails with EFAULT on the missing filter program."""
    libc = ctypes.CDLL(None, use_errno=True)
    known = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
    return known and libc.prctl(22, 2, None, 0, 0) == -1 and ctypes.get_errno() == errno.EFAULT


@pytest.mark.skipif(not filters_system_calls(), reason="this kernel has no seccomp filters for this machine")
def test_native_code_of_a_confined_process_cannot_open_a_socket_or_start_a_program() -> None:
    program = """
import ctypes, errno
from parsers.workers import confinement
confinement.confine(1024)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.socket(2, 1, 0) == -1 and ctypes.get_errno() == errno.EACCES
assert libc.execv(b"/bin/true", None) == -1 and ctypes.get_errno() == errno.EACCES
"""
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=True)
