"""Documents with a canary in every field that their format has, kept by Headrace or not: texts, markup, data and messages.

Office files, pictures and archives stand in `tests.canaries.canary_files`. What belongs here: bytes.
"""

from __future__ import annotations

import json
from email.message import EmailMessage
from email.utils import formataddr
from html import escape

from tests.canaries.values import Plant
from tests.documents import picture


def html(plant: Plant) -> bytes:
    bold, rest = plant.halves("markup within")
    before, after = plant.halves("element within a word")
    cells = "".join(f"<tr><td>{plant.words(f'cell {n}')}</td><td>{n}</td></tr>" for n in range(2))
    disguised = "".join(f"<p>Seen {escape(text)} here.</p>" for text in plant.disguised("text"))
    page = f"""<!doctype html><html lang="en"><head><title>Of {plant("title")}</title><base href="https://example.org/">
<meta name="author" content="{plant("author")}"><meta name="description" content="By {plant.words("description")}">
<meta name="keywords" content="weir, {plant("keywords")}"><meta property="og:title" content="{plant("og:title")}">
<link rel="author" href="mailto:{plant("link")}"><style>/* {plant("style")} */</style>
<script>var owner = "{plant("script")}"</script></head><body>
<header><p>{plant("page header")}</p></header><nav><a href="mailto:{plant("nav")}">Write</a></nav><!-- {plant("comment")} -->
<h1>Weir of {plant("heading")}</h1><h2>Keeper: {plant.iban("heading, IBAN")}</h2><p>{plant.words("paragraph")}</p>
<p><b>{bold}</b>{rest} keeps it, or <i>{before[:4]}</i><span>{before[4:]}</span>{after}.</p>
<p>Entity {plant("entity").replace("@", "&#64;")} and {plant("break").replace("@", "@<br>")}.</p>
<p>Wrapped {plant("word break").replace("@", "<wbr>@")} and {plant("shy").replace("@", "&shy;@")}.</p>{disguised}
<p><a href="mailto:{plant("mailto")}?subject={plant("mailto subject")}" title="{plant("link title")}">Write to {plant("link text")}</a>
<a href="https://example.org/?user={plant("link query")}#{plant("fragment")}">profile</a>
<a href="https://example.org/u/{plant("link, percent").replace("@", "%40")}/{plant.iban("link, IBAN")}">account</a></p>
<ul><li>{plant("list item")}</li></ul><ol><li>{plant("numbered item")}</li></ol><dl><dt>{plant("term")}</dt><dd>{plant("told")}</dd></dl>
<img src="https://example.org/{plant("picture")}.png" alt="Photo of {plant("alt")}" title="{plant("picture title")}">
<figure><img src="a.png"><figcaption>Figure of {plant("figure caption")}</figcaption></figure>
<table><caption>Table of {plant("table caption")}</caption><tr><th>{plant("table header")}</th><th>n</th></tr>{cells}</table>
<pre><code>owner = "{plant("code")}"</code></pre><blockquote cite="mailto:{plant("cite")}">{plant("quotation")}</blockquote>
<form action="mailto:{plant("form")}"><input type="hidden" value="{plant("hidden input")}" placeholder="{plant("placeholder")}">
<textarea>{plant("textarea")}</textarea><select><option>{plant("option")}</option></select><button>{plant("button")}</button></form>
<details><summary>{plant("summary")}</summary>{plant("details")}</details><p hidden>{plant("hidden")}</p>
<p data-owner="{plant("data attribute")}" id="{plant("id")}" aria-label="{plant("aria label")}">Last.</p>
<footer><p>{plant("page footer")}</p></footer></body></html>"""
    return page.encode()


def markdown(plant: Plant) -> bytes:
    bold, rest = plant.halves("markup within")
    disguised = "\n\n".join(f"Seen {text} here." for text in plant.disguised("text"))
    return f"""---
title: Of {plant("front matter title")}
author: {plant("front matter author")}
tags:
  - {plant("front matter tag")}
---

# Weir of {plant("heading")}

{plant.words("paragraph")} **{bold}**{rest} keeps it. Autolink <{plant("autolink")}>, code `{plant("code span")}`.

{disguised}

- item of {plant("list item")}
- [x] task of {plant("task")}

1. step of {plant("numbered item")}

> Said {plant("quotation")}

| owner {plant("table header")} | n |
|---|---|
| {plant.words("cell")} | 1 |

![Photo of {plant("alt")}](https://example.org/{plant("picture")}.png "{plant("picture title")}")
[Write to {plant("link text")}](mailto:{plant("link")} "{plant("link title")}") and [ref][1].

```yaml
owner: {plant("code")}
```

Setext of {plant("second heading")}
---

<!-- {plant("comment")} --> <span title="{plant("attribute")}">{plant("inline HTML")}</span>

[1]: https://example.org/?user={plant("reference")} "{plant("reference title")}"
[^1]: Note of {plant("footnote")}
""".encode()


def restructured(plant: Plant) -> bytes:
    title = f"Weir of {plant('title')}"
    bold, rest = plant.halves("markup within")
    return f"""{title}
{"=" * len(title)}

:Author: {plant("field author")}
:Contact: {plant("field contact")}
:Keeper: {plant("own field")}

{plant.words("paragraph")} **{bold}**\\ {rest} keeps it. `Write to {plant("link text")} <mailto:{plant("link")}>`_ and [1]_ and |sub|.

* item of {plant("list item")}

term of {plant("term")}
    told of {plant("told")}

.. image:: https://example.org/{plant("picture")}.png
   :alt: Photo of {plant("alt")}

.. note:: Note of {plant("directive")}

.. figure:: a.png

   Figure of {plant("caption")}

.. table:: Table of {plant("table caption")}

   ====================================================================== =====
   owner of {plant("table header")}                        n
   ====================================================================== =====
   {plant("cell")}                               1
   ====================================================================== =====

.. csv-table::
   :header: "of {plant("csv header")}", n

   "{plant("csv cell")}", 1

::

   owner = {plant("literal")}

.. [1] Footnote of {plant("footnote")}
.. |sub| replace:: {plant("substitution")}
.. comment of {plant("comment")}
.. _elsewhere: mailto:{plant("target")}
.. raw:: html

   <p>{plant("raw")}</p>
""".encode()


def asciidoc(plant: Plant) -> bytes:
    bold, rest = plant.halves("markup within")
    return f"""= Weir of {plant("title")}
Ada Pool <{plant("author")}>
:keywords: {plant("attribute")}

{plant.words("paragraph")} *bold of {plant("bold")}* keeps it, and **{bold}**{rest} too.

== Part of {plant("heading")}

* item of {plant("list item")}

. step of {plant("numbered item")}

.Table of {plant("table title")}
|===
| owner {plant("table header")} | n
| {plant("cell")} | 1
|===

.Figure of {plant("caption")}
image::a.png[Photo of {plant("alt")}]

mailto:{plant("link")}[Write to {plant("link text")}], https://example.org/?user={plant("link query")}[profile]

----
owner = {plant("code")}
----

NOTE: Note of {plant("note")}

// {plant("comment")}
footnote:[{plant("footnote")}]
""".encode()


def latex(plant: Plant) -> bytes:
    bold, rest = plant.halves("markup within")
    return rf"""\documentclass{{article}}
\title{{Weir of {plant("title")}}}
\author{{Ada Pool \thanks{{{plant("thanks")}}} \texttt{{{plant("author")}}}}}
\newcommand{{\keeper}}{{{plant("macro")}}}
\begin{{document}}
\maketitle
\begin{{abstract}}Abstract of {plant("abstract")}.\end{{abstract}}
\section{{Part of {plant("heading")}}}
{plant.words("paragraph")} \textbf{{{bold}}}{rest} keeps it, says \keeper.\footnote{{Note of {plant("footnote")}}}
\begin{{itemize}}\item item of {plant("list item")}\end{{itemize}}
\begin{{tabular}}{{ll}} owner {plant("table header")} & n \\ {plant("cell")} & 1 \\ \end{{tabular}}
\begin{{figure}}\includegraphics{{{plant("picture")}.png}}
\caption{{Figure of {plant("caption")}}}\label{{fig:{plant("label")}}}\end{{figure}}
\href{{mailto:{plant("link")}}}{{Write to {plant("link text")}}} \url{{https://example.org/?user={plant("url")}}}
\begin{{verbatim}}
owner = {plant("verbatim")}
\end{{verbatim}}
$x = \text{{{plant("formula")}}}$ \cite{{{plant("citation")}}}
% {plant("comment")}
\begin{{thebibliography}}{{9}}\bibitem{{a}} Of {plant("bibliography")}.\end{{thebibliography}}
\end{{document}}
""".encode()


def text(plant: Plant) -> bytes:
    """In UTF-16, without a mark that says so in the media type."""
    paragraphs = [plant.words("paragraph"), *(f"Seen {words} here." for words in plant.disguised("text"))]
    return "\n\n".join([*paragraphs, f"Grüße an {plant('last paragraph')}"]).encode("utf-16")


def code(plant: Plant) -> bytes:
    return f'''"""Of {plant("docstring")}."""
# {plant("comment")}
OWNER = "{plant("string")}"  # pays from {plant.iban("IBAN")} or {plant.card("card")}
URL = "https://example.org/?user={plant("query")}"
'''.encode()


def table(plant: Plant) -> bytes:
    rows = [f"owner,{plant('header')},account", f'"rake, {plant("quoted cell")}",{plant("cell")},{plant.iban("IBAN")}']
    return "\n".join([*rows, f"seal,{plant.card('card')},", ""]).encode()


def data(plant: Plant) -> bytes:
    whole = {
        "title": f"Of {plant('title')}",
        plant("name"): 1,
        "owner": plant("value"),
        "nested": {plant("nested name"): {"deep": [plant("deep"), {"deeper": "x" * 250 + f" {plant('deeper')}"}]}},
        "records": [{"name": plant(f"record {n}"), "card": plant.card(f"record {n}, card")} for n in range(2)],
        "list": [plant("list"), plant.iban("list, IBAN")],
        "escaped": plant("escaped"),
    }
    return json.dumps(whole).replace(whole["escaped"].replace("@", "@"), whole["escaped"].replace("@", "\\u0040")).encode()


def data_lines(plant: Plant) -> bytes:
    lines = [json.dumps({plant("name"): plant(f"value {n}"), "note": plant.words(f"note {n}")}) for n in range(2)]
    return "\n".join([*lines, f"broken {{ {plant('broken line')}", ""]).encode()


def xml(plant: Plant) -> bytes:
    bold, rest = plant.halves("markup within")
    return f"""<?xml version="1.0"?><?owner {plant("instruction")}?>
<!DOCTYPE book [<!ENTITY keeper "{plant("entity")}">]>
<book owner="{plant("attribute")}" xmlns:o="https://example.org/{plant("namespace")}"><!-- {plant("comment")} -->
<title>Of {plant("title")}</title>
<chapter><title>Part of {plant("heading")}</title><para>{plant.words("paragraph")} <b>{bold}</b>{rest}, &keeper;</para>
<listitem>item of {plant("list item")}</listitem><caption>Figure of {plant("caption")}</caption>
<programlisting>owner = {plant("code")}</programlisting><note><![CDATA[<{plant("CDATA")}>]]></note>
<link o:href="mailto:{plant("link")}">{plant("link text")}</link></chapter>
<parts><part id="{plant("record, attribute")}"><name>{plant("record")}</name></part><part id="2"><name>x</name></part></parts>
</book>""".encode()


def jats(plant: Plant) -> bytes:
    bold, rest = plant.halves("markup within")
    return f"""<?xml version="1.0"?><article article-type="research-article" xmlns:xlink="http://www.w3.org/1999/xlink"><front>
<journal-meta><publisher><publisher-name>{plant("publisher")}</publisher-name></publisher></journal-meta>
<article-meta><title-group><article-title>Of {plant("title")}</article-title></title-group>
<contrib-group><contrib contrib-type="author"><name><surname>{plant("surname")}</surname><given-names>Ada</given-names></name>
<email>{plant("author")}</email><aff>{plant("affiliation")}</aff></contrib></contrib-group>
<author-notes><corresp>{plant("corresponding")}</corresp></author-notes>
<abstract><p>Abstract of {plant("abstract")}.</p></abstract><kwd-group><kwd>{plant("keyword")}</kwd></kwd-group></article-meta></front>
<body><sec><title>Part of {plant("heading")}</title><p>{plant.words("paragraph")}
<bold>Bold {plant("bold")}</bold> and <bold>{bold}</bold>{rest} too
<ext-link xlink:href="mailto:{plant("link")}">{plant("link text")}</ext-link><fn><p>{plant("footnote")}</p></fn></p>
<list><list-item><p>item of {plant("list item")}</p></list-item></list>
<fig><label>1</label><caption><p>Figure of {plant("caption")}</p></caption><alt-text>{plant("alt")}</alt-text></fig>
<table-wrap><caption><p>Table of {plant("table caption")}</p></caption><table><tr><th>{plant("table header")}</th><th>n</th></tr>
<tr><td>{plant("cell")}</td><td>1</td></tr></table></table-wrap></sec></body>
<back><ack><p>{plant("thanks")}</p></ack><ref-list><ref id="a"><mixed-citation>{plant("reference")}</mixed-citation></ref></ref-list></back>
</article>""".encode()


def vtt(plant: Plant) -> bytes:
    bold, rest = plant.halves("markup within")
    return f"""WEBVTT Of {plant("header")}

NOTE {plant("note")}

STYLE
::cue {{ content: "{plant("style")}" }}

cue of {plant("cue id")}
00:00.000 --> 00:02.000
<v {plant("speaker")}>{plant.words("cue")}

00:02.000 --> 00:04.000
<i>Write</i> to <c.{plant.iban("class")}>{plant("marked cue")}</c>

00:04.000 --> 00:06.000
It is <b>{bold}</b>{rest} who says so.
""".encode()


def srt(plant: Plant) -> bytes:
    bold, rest = plant.halves("markup within")
    return f"""1
00:00:00,000 --> 00:00:02,000
<b>{bold}</b>{rest} says

2
00:00:02,000 --> 00:00:04,000
{{\\an8}}{plant.words("cue")}
""".encode()


def letter(plant: Plant, before: str = "") -> EmailMessage:
    """A message with all that may stand in its head."""
    mail = EmailMessage()
    for name in ("From", "Sender", "To", "Cc", "Bcc", "Reply-To"):
        mail[name] = formataddr((f"Ada {plant.short(f'{before}{name}, name', 16)}", plant(f"{before}{name}")))
    for name in ("Return-Path", "Message-ID", "In-Reply-To", "References"):
        mail[name] = f"<{plant(f'{before}{name}')}>"
    for name in ("Subject", "Organization", "X-Owner", "Received", "Comments", "Keywords", "List-Unsubscribe", "X-Originating-Account"):
        mail[name] = f"of {plant(f'{before}{name}')}"
    mail["Date"] = "Tue, 03 Mar 2026 09:12:00 +0000"
    seen = "\n\n".join(f"Seen {text} here." for text in plant.disguised(f"{before}text"))
    mail.set_content(
        f"Dear {plant(f'{before}salutation')},\n\n{plant.words(f'{before}text')}\n\n{seen}\n\n-- \n{plant(f'{before}signature')}\n"
    )
    mail.add_alternative(f"<title>{plant(f'{before}HTML title')}</title><p>{plant(f'{before}HTML text')}</p>", subtype="html")
    return mail


def message(plant: Plant) -> bytes:
    mail = letter(plant)
    mail.get_payload()[1].add_related(
        picture().getvalue(), maintype="image", subtype="png", cid=f"<{plant('content id')}>", filename=plant("picture")
    )
    mail.add_attachment(f"Closed, says {plant('attachment')}.", filename=f"note of {plant('attachment name')}.txt")
    mail.add_attachment(html(plant), maintype="text", subtype="html", filename="page.html")
    mail.add_attachment(b"\0\1" + plant("unreadable attachment").encode(), maintype="application", subtype="x-own", filename=plant("own"))
    mail.add_attachment(letter(plant, "forwarded "))
    mail.add_attachment(
        f"BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:{plant('calendar')}\nATTENDEE:mailto:{plant('attendee')}\nEND:VEVENT\nEND:VCALENDAR\n",
        subtype="calendar", filename="invite.ics",
    )  # fmt: skip
    return mail.as_bytes()


def saved_page(plant: Plant) -> bytes:
    head = f"From: <Saved by {plant('From')}>\nSubject: Of {plant('Subject')}\nSnapshot-Content-Location: https://example.org/?u={plant('location')}\n"
    head += 'MIME-Version: 1.0\nContent-Type: multipart/related; boundary="x"; type="text/html"\n\n'
    page = f"--x\nContent-Type: text/html\nContent-Location: mailto:{plant('part location')}\nContent-ID: <{plant('content id')}>\n\n"
    other = f"\n--x\nContent-Type: text/css\n\n/* {plant('style')} */\n--x--\n"
    return head.encode() + page.encode() + html(plant) + other.encode()
