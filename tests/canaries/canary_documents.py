"""Documents with a canary in every field of their format, including fields that Headrace ignores: texts, markup, data and messages.

Office files, pictures and archives are in `tests.canaries.canary_files`.
"""

from __future__ import annotations

import json
from email.message import EmailMessage
from email.utils import formataddr
from html import escape
from typing import Any

from tests.canaries.values import FieldCanaries
from tests.documents import picture


def html(canary: FieldCanaries) -> bytes:
    bold, rest = canary.halves("markup within")
    before, after = canary.halves("element within a word")
    cells = "".join(f"<tr><td>{canary.words(f'cell {n}')}</td><td>{n}</td></tr>" for n in range(2))
    disguised = "".join(f"<p>Seen {escape(text)} here.</p>" for text in canary.disguised("text"))
    page = f"""<!doctype html><html lang="en"><head><title>Of {canary("title")}</title><base href="https://example.org/">
<meta name="author" content="{canary("author")}"><meta name="description" content="By {canary.words("description")}">
<meta name="keywords" content="weir, {canary("keywords")}"><meta property="og:title" content="{canary("og:title")}">
<link rel="author" href="mailto:{canary("link")}"><style>/* {canary("style")} */</style>
<script>var owner = "{canary("script")}"</script></head><body>
<header><p>{canary("page header")}</p></header><nav><a href="mailto:{canary("nav")}">Write</a></nav><!-- {canary("comment")} -->
<h1>Weir of {canary("heading")}</h1><h2>Keeper: {canary.iban("heading, IBAN")}</h2><p>{canary.words("paragraph")}</p>
<p><b>{bold}</b>{rest} keeps it, or <i>{before[:4]}</i><span>{before[4:]}</span>{after}.</p>
<p>Entity {canary("entity").replace("@", "&#64;")} and {canary("break").replace("@", "@<br>")}.</p>
<p>Wrapped {canary("word break").replace("@", "<wbr>@")} and {canary("shy").replace("@", "&shy;@")}.</p>{disguised}
<p><a href="mailto:{canary("mailto")}?subject={canary("mailto subject")}" title="{canary("link title")}">Write to {canary("link text")}</a>
<a href="https://example.org/?user={canary("link query")}#{canary("fragment")}">profile</a>
<a href="https://example.org/u/{canary("link, percent").replace("@", "%40")}/{canary.iban("link, IBAN")}">account</a></p>
<ul><li>{canary("list item")}</li></ul><ol><li>{canary("numbered item")}</li></ol>
<dl><dt>{canary("term")}</dt><dd>{canary("definition")}</dd></dl>
<img src="https://example.org/{canary("picture")}.png" alt="Photo of {canary("alt")}" title="{canary("picture title")}">
<figure><img src="a.png"><figcaption>Figure of {canary("figure caption")}</figcaption></figure>
<table><caption>Table of {canary("table caption")}</caption><tr><th>{canary("table header")}</th><th>n</th></tr>{cells}</table>
<pre><code>owner = "{canary("code")}"</code></pre><blockquote cite="mailto:{canary("cite")}">{canary("quotation")}</blockquote>
<form action="mailto:{canary("form")}"><input type="hidden" value="{canary("hidden input")}" placeholder="{canary("placeholder")}">
<textarea>{canary("textarea")}</textarea><select><option>{canary("option")}</option></select><button>{canary("button")}</button></form>
<details><summary>{canary("summary")}</summary>{canary("details")}</details><p hidden>{canary("hidden")}</p>
<p data-owner="{canary("data attribute")}" id="{canary("id")}" aria-label="{canary("aria label")}">Last.</p>
<footer><p>{canary("page footer")}</p></footer></body></html>"""
    return page.encode()


def markdown(canary: FieldCanaries) -> bytes:
    bold, rest = canary.halves("markup within")
    disguised = "\n\n".join(f"Seen {text} here." for text in canary.disguised("text"))
    return f"""---
title: Of {canary("front matter title")}
author: {canary("front matter author")}
tags:
  - {canary("front matter tag")}
---

# Weir of {canary("heading")}

{canary.words("paragraph")} **{bold}**{rest} keeps it. Autolink <{canary("autolink")}>, code `{canary("code span")}`.

{disguised}

- item of {canary("list item")}
- [x] task of {canary("task")}

1. step of {canary("numbered item")}

> Said {canary("quotation")}

| owner {canary("table header")} | n |
|---|---|
| {canary.words("cell")} | 1 |

![Photo of {canary("alt")}](https://example.org/{canary("picture")}.png "{canary("picture title")}")
[Write to {canary("link text")}](mailto:{canary("link")} "{canary("link title")}") and [ref][1].

```yaml
owner: {canary("code")}
```

Setext of {canary("second heading")}
---

<!-- {canary("comment")} --> <span title="{canary("attribute")}">{canary("inline HTML")}</span>

[1]: https://example.org/?user={canary("reference")} "{canary("reference title")}"
[^1]: Note of {canary("footnote")}
""".encode()


def restructured(canary: FieldCanaries) -> bytes:
    title = f"Weir of {canary('title')}"
    bold, rest = canary.halves("markup within")
    return f"""{title}
{"=" * len(title)}

:Author: {canary("field author")}
:Contact: {canary("field contact")}
:Keeper: {canary("own field")}

{canary.words("paragraph")} **{bold}**\\ {rest} keeps it. `Write to {canary("link text")} <mailto:{canary("link")}>`_ and [1]_ and |sub|.

* item of {canary("list item")}

term of {canary("term")}
    defined as {canary("definition")}

.. image:: https://example.org/{canary("picture")}.png
   :alt: Photo of {canary("alt")}

.. note:: Note of {canary("directive")}

.. figure:: a.png

   Figure of {canary("caption")}

.. table:: Table of {canary("table caption")}

   ====================================================================== =====
   owner of {canary("table header")}                        n
   ====================================================================== =====
   {canary("cell")}                               1
   ====================================================================== =====

.. csv-table::
   :header: "of {canary("csv header")}", n

   "{canary("csv cell")}", 1

::

   owner = {canary("literal")}

.. [1] Footnote of {canary("footnote")}
.. |sub| replace:: {canary("substitution")}
.. comment of {canary("comment")}
.. _elsewhere: mailto:{canary("target")}
.. raw:: html

   <p>{canary("raw")}</p>
""".encode()


def asciidoc(canary: FieldCanaries) -> bytes:
    bold, rest = canary.halves("markup within")
    return f"""= Weir of {canary("title")}
Ada Pool <{canary("author")}>
:keywords: {canary("attribute")}

{canary.words("paragraph")} *bold of {canary("bold")}* keeps it, and **{bold}**{rest} too.

== Part of {canary("heading")}

* item of {canary("list item")}

. step of {canary("numbered item")}

.Table of {canary("table title")}
|===
| owner {canary("table header")} | n
| {canary("cell")} | 1
|===

.Figure of {canary("caption")}
image::a.png[Photo of {canary("alt")}]

mailto:{canary("link")}[Write to {canary("link text")}], https://example.org/?user={canary("link query")}[profile]

----
owner = {canary("code")}
----

NOTE: Note of {canary("note")}

// {canary("comment")}
footnote:[{canary("footnote")}]
""".encode()


def latex(canary: FieldCanaries) -> bytes:
    bold, rest = canary.halves("markup within")
    return rf"""\documentclass{{article}}
\title{{Weir of {canary("title")}}}
\author{{Ada Pool \thanks{{{canary("thanks")}}} \texttt{{{canary("author")}}}}}
\newcommand{{\keeper}}{{{canary("macro")}}}
\begin{{document}}
\maketitle
\begin{{abstract}}Abstract of {canary("abstract")}.\end{{abstract}}
\section{{Part of {canary("heading")}}}
{canary.words("paragraph")} \textbf{{{bold}}}{rest} keeps it, says \keeper.\footnote{{Note of {canary("footnote")}}}
\begin{{itemize}}\item item of {canary("list item")}\end{{itemize}}
\begin{{tabular}}{{ll}} owner {canary("table header")} & n \\ {canary("cell")} & 1 \\ \end{{tabular}}
\begin{{figure}}\includegraphics{{{canary("picture")}.png}}
\caption{{Figure of {canary("caption")}}}\label{{fig:{canary("label")}}}\end{{figure}}
\href{{mailto:{canary("link")}}}{{Write to {canary("link text")}}} \url{{https://example.org/?user={canary("url")}}}
\begin{{verbatim}}
owner = {canary("verbatim")}
\end{{verbatim}}
$x = \text{{{canary("formula")}}}$ \cite{{{canary("citation")}}}
% {canary("comment")}
\begin{{thebibliography}}{{9}}\bibitem{{a}} Of {canary("bibliography")}.\end{{thebibliography}}
\end{{document}}
""".encode()


def text(canary: FieldCanaries) -> bytes:
    """Text in UTF-16, which the media type does not mention."""
    paragraphs = [canary.words("paragraph"), *(f"Seen {words} here." for words in canary.disguised("text"))]
    return "\n\n".join([*paragraphs, f"Grüße an {canary('last paragraph')}"]).encode("utf-16")


def code(canary: FieldCanaries) -> bytes:
    return f'''"""Of {canary("docstring")}."""
# {canary("comment")}
OWNER = "{canary("string")}"  # pays from {canary.iban("IBAN")} or {canary.card("card")}
URL = "https://example.org/?user={canary("query")}"
'''.encode()


def table(canary: FieldCanaries) -> bytes:
    rows = [f"owner,{canary('header')},account", f'"rake, {canary("quoted cell")}",{canary("cell")},{canary.iban("IBAN")}']
    return "\n".join([*rows, f"seal,{canary.card('card')},", ""]).encode()


def data(canary: FieldCanaries) -> bytes:
    escaped = canary("escaped")
    whole = {
        "title": f"Of {canary('title')}",
        canary("name"): 1,
        "owner": canary("value"),
        "nested": {canary("nested name"): {"deep": [canary("deep"), {"deeper": "x" * 250 + f" {canary('deeper')}"}]}},
        "records": [{"name": canary(f"record {n}"), "card": canary.card(f"record {n}, card")} for n in range(2)],
        "list": [canary("list"), canary.iban("list, IBAN")],
        "escaped": escaped,
    }
    return json.dumps(whole).replace(escaped, escaped.replace("@", "\\u0040")).encode()


def data_lines(canary: FieldCanaries) -> bytes:
    lines = [json.dumps({canary("name"): canary(f"value {n}"), "note": canary.words(f"note {n}")}) for n in range(2)]
    return "\n".join([*lines, f"broken {{ {canary('broken line')}", ""]).encode()


def xml(canary: FieldCanaries) -> bytes:
    bold, rest = canary.halves("markup within")
    return f"""<?xml version="1.0"?><?owner {canary("instruction")}?>
<!DOCTYPE book [<!ENTITY keeper "{canary("entity")}">]>
<book owner="{canary("attribute")}" xmlns:o="https://example.org/{canary("namespace")}"><!-- {canary("comment")} -->
<title>Of {canary("title")}</title>
<chapter><title>Part of {canary("heading")}</title><para>{canary.words("paragraph")} <b>{bold}</b>{rest}, &keeper;</para>
<listitem>item of {canary("list item")}</listitem><caption>Figure of {canary("caption")}</caption>
<programlisting>owner = {canary("code")}</programlisting><note><![CDATA[<{canary("CDATA")}>]]></note>
<link o:href="mailto:{canary("link")}">{canary("link text")}</link></chapter>
<parts><part id="{canary("record, attribute")}"><name>{canary("record")}</name></part><part id="2"><name>x</name></part></parts>
</book>""".encode()


def jats(canary: FieldCanaries) -> bytes:
    bold, rest = canary.halves("markup within")
    return f"""<?xml version="1.0"?><article article-type="research-article" xmlns:xlink="http://www.w3.org/1999/xlink"><front>
<journal-meta><publisher><publisher-name>{canary("publisher")}</publisher-name></publisher></journal-meta>
<article-meta><title-group><article-title>Of {canary("title")}</article-title></title-group>
<contrib-group><contrib contrib-type="author"><name><surname>{canary("surname")}</surname><given-names>Ada</given-names></name>
<email>{canary("author")}</email><aff>{canary("affiliation")}</aff></contrib></contrib-group>
<author-notes><corresp>{canary("corresponding")}</corresp></author-notes>
<abstract><p>Abstract of {canary("abstract")}.</p></abstract><kwd-group><kwd>{canary("keyword")}</kwd></kwd-group></article-meta></front>
<body><sec><title>Part of {canary("heading")}</title><p>{canary.words("paragraph")}
<bold>Bold {canary("bold")}</bold> and <bold>{bold}</bold>{rest} too
<ext-link xlink:href="mailto:{canary("link")}">{canary("link text")}</ext-link><fn><p>{canary("footnote")}</p></fn></p>
<list><list-item><p>item of {canary("list item")}</p></list-item></list>
<fig><label>1</label><caption><p>Figure of {canary("caption")}</p></caption><alt-text>{canary("alt")}</alt-text></fig>
<table-wrap><caption><p>Table of {canary("table caption")}</p></caption><table><tr><th>{canary("table header")}</th><th>n</th></tr>
<tr><td>{canary("cell")}</td><td>1</td></tr></table></table-wrap></sec></body>
<back><ack><p>{canary("thanks")}</p></ack>
<ref-list><ref id="a"><mixed-citation>{canary("reference")}</mixed-citation></ref></ref-list></back>
</article>""".encode()


def vtt(canary: FieldCanaries) -> bytes:
    bold, rest = canary.halves("markup within")
    return f"""WEBVTT Of {canary("header")}

NOTE {canary("note")}

STYLE
::cue {{ content: "{canary("style")}" }}

cue of {canary("cue id")}
00:00.000 --> 00:02.000
<v {canary("speaker")}>{canary.words("cue")}

00:02.000 --> 00:04.000
<i>Write</i> to <c.{canary.iban("class")}>{canary("marked cue")}</c>

00:04.000 --> 00:06.000
It is <b>{bold}</b>{rest} who says so.
""".encode()


def srt(canary: FieldCanaries) -> bytes:
    bold, rest = canary.halves("markup within")
    return f"""1
00:00:00,000 --> 00:00:02,000
<b>{bold}</b>{rest} says

2
00:00:02,000 --> 00:00:04,000
{{\\an8}}{canary.words("cue")}
""".encode()


def letter(canary: FieldCanaries, before: str = "") -> EmailMessage:
    """A message with all header fields."""
    mail = EmailMessage()
    for name in ("From", "Sender", "To", "Cc", "Bcc", "Reply-To"):
        mail[name] = formataddr((f"Ada {canary.short(f'{before}{name}, name', 16)}", canary(f"{before}{name}")))
    for name in ("Return-Path", "Message-ID", "In-Reply-To", "References"):
        mail[name] = f"<{canary(f'{before}{name}')}>"
    for name in ("Subject", "Organization", "X-Owner", "Received", "Comments", "Keywords", "List-Unsubscribe", "X-Originating-Account"):
        mail[name] = f"of {canary(f'{before}{name}')}"
    mail["Date"] = "Tue, 03 Mar 2026 09:12:00 +0000"
    seen = "\n\n".join(f"Seen {text} here." for text in canary.disguised(f"{before}text"))
    mail.set_content(
        f"Dear {canary(f'{before}salutation')},\n\n{canary.words(f'{before}text')}\n\n{seen}\n\n-- \n{canary(f'{before}signature')}\n"
    )
    mail.add_alternative(f"<title>{canary(f'{before}HTML title')}</title><p>{canary(f'{before}HTML text')}</p>", subtype="html")
    return mail


def message(canary: FieldCanaries) -> bytes:
    mail = letter(canary)
    alternative: Any = mail.get_payload(1)
    alternative.add_related(
        picture().getvalue(), maintype="image", subtype="png", cid=f"<{canary('content id')}>", filename=canary("picture")
    )
    mail.add_attachment(f"Closed, says {canary('attachment')}.", filename=f"note of {canary('attachment name')}.txt")
    mail.add_attachment(html(canary), maintype="text", subtype="html", filename="page.html")
    mail.add_attachment(b"\0\1" + canary("unreadable attachment").encode(), maintype="application", subtype="x-own", filename=canary("own"))
    mail.add_attachment(letter(canary, "forwarded "))
    mail.add_attachment(
        f"BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:{canary('calendar')}\nATTENDEE:mailto:{canary('attendee')}\nEND:VEVENT\nEND:VCALENDAR\n",
        subtype="calendar", filename="invite.ics",
    )  # fmt: skip
    return mail.as_bytes()


def saved_page(canary: FieldCanaries) -> bytes:
    head = f"From: <Saved by {canary('From')}>\nSubject: Of {canary('Subject')}\nSnapshot-Content-Location: https://example.org/?u={canary('location')}\n"
    head += 'MIME-Version: 1.0\nContent-Type: multipart/related; boundary="x"; type="text/html"\n\n'
    page = f"--x\nContent-Type: text/html\nContent-Location: mailto:{canary('part location')}\nContent-ID: <{canary('content id')}>\n\n"
    other = f"\n--x\nContent-Type: text/css\n\n/* {canary('style')} */\n--x--\n"
    return head.encode() + page.encode() + html(canary) + other.encode()
