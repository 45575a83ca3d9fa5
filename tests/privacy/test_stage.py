"""The stage: no value survives in any field of a document, and each row's result is independent of the others."""

from __future__ import annotations

from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import records
from core.frames import PARSED, RESULT
from core.keys import TenantKeys
from core.records import Block, BlockKind, Content, Envelope, Link, Redacted
from privacy import new_data_key, redact, redact_text, surrogate, tenant_keys
from tests.privacy.test_values import MASTER, SHOWN, PiiValue, patterns, values

pytestmark = pytest.mark.slow

ACME, GLOBEX = (tenant_keys(MASTER, tenant, new_data_key(MASTER, tenant)) for tenant in ("acme", "globex"))
KINDS: tuple[BlockKind, ...] = ("heading", "paragraph", "list_item", "code", "caption", "formula")

Document = tuple[Envelope, Content, list[PiiValue]]


def parsed(*documents: tuple[Envelope, Content]) -> pl.DataFrame:
    rows = [
        {"document": f"{i:032x}", "input_key": f"key-{i}", "envelope": records.encode(envelope), "content": records.encode(content)}
        for i, (envelope, content) in enumerate(documents)
    ]
    return pl.DataFrame(rows, schema=dict(PARSED))


def redacted(envelope: Envelope, content: Content, keys: TenantKeys = ACME) -> Redacted:
    return records.decode(redact(parsed((envelope, content)), patterns(), keys)["payload"][0], Redacted)


def squeezed(text: str) -> str:
    return "".join(filter(str.isalnum, text))


SENTENCES = st.sampled_from(["{}", "Reach her at {}.", "({})", "see {} for more", "Müller: {}; thanks", "*{}*", "{}, {}"])


@st.composite
def planted_documents(draw: st.DrawFn) -> Document:
    """A document with a different value in every field, and the values."""
    inserted: list[PiiValue] = []

    def insert(template: str = "{}", *, precise: bool = False) -> str:
        value = draw(values(precise=precise))
        inserted.append(value)
        return template.replace("{}", value.text)

    def sentence() -> str:
        return insert(draw(SENTENCES))

    blocks = [Block(kind, text=sentence(), level=1 if kind == "heading" else 0) for kind in KINDS]
    blocks.append(Block("table", rows=((sentence(), sentence()), (sentence(), sentence()))))
    target = draw(st.sampled_from(["https://x.example/a?q={}&p=1", "https://x.example/a/{}", "mailto:{}", "tel:{}", "{}"]))
    blocks.append(Block("paragraph", text="a link", links=(Link(text=sentence(), target=insert(target)),)))
    envelope = Envelope(
        name=insert("inbox/{}/1", precise=True),
        source="crm",
        title=sentence() if draw(st.booleans()) else "",
        uri=insert("https://x.example/{}", precise=True),
        metadata={"owner": sentence(), insert(precise=True): "key"},
    )
    return envelope, Content(tuple(blocks), title=insert(), properties={"author": sentence()}), inserted


@settings(max_examples=50)
@given(planted_documents())
def test_no_value_survives_in_any_field(document: Document) -> None:
    envelope, content, inserted = document
    payload = redact(parsed((envelope, content)), patterns(), ACME)["payload"][0].decode()
    for value in inserted:
        assert value.text not in payload, value.entity
        assert squeezed(value.text) not in squeezed(payload), value.entity


def test_replacements_are_counted_by_entity() -> None:
    content = Content(tuple(Block("paragraph", text=f"see {value}") for value in SHOWN.values()), title=SHOWN["EMAIL"])
    found = redacted(Envelope("id", "crm"), content).found
    assert found == dict.fromkeys(SHOWN, 1) | {"EMAIL": 2}


def test_structure_links_and_ordinary_names_are_kept() -> None:
    blocks = (
        Block("heading", text="Plan", level=2, page=3),
        Block("table", rows=(("a", "b"), ("1", "2"))),
        Block("paragraph", text="see", links=(Link("the page", "https://example.com/a?b=1"),)),
    )
    envelope = Envelope("reports/2024-11-22/q3.pdf", "crm", uri="https://files.example.com/reports/q3.pdf")
    result = redacted(envelope, Content(blocks, title="Plan"))
    assert result == Redacted(envelope.name, blocks, title="Plan", uri=envelope.uri, source=envelope.source)


def test_the_events_title_and_metadata_win_over_the_files_own() -> None:
    envelope = Envelope("id", "crm", title="Event", metadata={"owner": "crm", "file.author": "event"})
    result = redacted(envelope, Content((), title="File", properties={"author": "file", "owner": "file"}))
    assert result.title == "Event"
    assert result.metadata == {"file.author": "event", "file.owner": "file", "owner": "crm"}


def test_a_table_is_read_with_its_headers_and_first_column() -> None:
    rows = (("Name", "Account"), ("x", "12345678"), ("Phone", "2025550123"), ("Total", "87654321"))
    (block,) = redacted(Envelope("id", "crm"), Content((Block("table", rows=rows),))).blocks
    assert block.rows[0] == rows[0]
    assert block.rows[1][1] == surrogate("BANK", "12345678", ACME)
    assert block.rows[2][1] == surrogate("PHONE", "2025550123", ACME)


def test_metadata_is_read_with_its_key() -> None:
    result = redacted(Envelope("id", "crm", metadata={"phone": "2025550123", "size": "2025550123"}), Content(()))
    assert result.metadata == {"phone": surrogate("PHONE", "2025550123", ACME), "size": "2025550123"}


def test_a_query_has_the_documents_surrogate_and_another_tenants_query_has_not() -> None:
    content = Content((Block("paragraph", text=f"Ask {SHOWN['EMAIL']}"),))
    (text,) = (block.text for block in redacted(Envelope("id", "crm"), content).blocks)
    token = text.removeprefix("Ask ")
    assert token in redact_text(f"what does {SHOWN['EMAIL'].upper()} do?", patterns(), ACME)
    assert token not in redact_text(f"what does {SHOWN['EMAIL']} do?", patterns(), GLOBEX)


@settings(max_examples=25)
@given(st.lists(planted_documents(), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_a_documents_result_does_not_depend_on_its_neighbours_or_their_order(documents: list[Document], random: Random) -> None:
    pairs = [(envelope, content) for envelope, content, _ in documents]
    alone = [redact(parsed(pair), patterns(), ACME)["payload"][0] for pair in pairs]
    order = random.sample(range(len(pairs)), len(pairs))
    together = redact(parsed(*(pairs[i] for i in order)), patterns(), ACME)["payload"].to_list()
    assert together == [alone[i] for i in order]


def test_a_frame_keeps_its_keys_and_an_empty_one_gives_an_empty_result() -> None:
    frame = parsed((Envelope("a", "crm"), Content(())), (Envelope("b", "crm"), Content(())))
    result = redact(frame, patterns(), ACME)
    assert result.schema == pl.Schema(dict(RESULT))
    assert result.select("document", "input_key").equals(frame.select("document", "input_key"))
    assert result["reason"].is_null().all()
    assert redact(parsed(), patterns(), ACME).is_empty()


def test_a_text_with_nul_bidirectional_and_invisible_characters_is_redacted() -> None:
    text = "\x00\u202e\u200b\u2066\ufeff" + SHOWN["EMAIL"] + "\u200f\x00"
    (block,) = redacted(Envelope("id", "crm"), Content((Block("paragraph", text=text),))).blocks
    assert surrogate("EMAIL", SHOWN["EMAIL"], ACME) in block.text
