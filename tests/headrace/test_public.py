"""The public package, and the SQL of docs/retrieval.md and docs/operations.md under an application's own login."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.rows import dict_row

import headrace
from headrace import ConfigurationError, HeadraceError, Index, Publisher, TenantError
from pipelines.app import Headrace
from pipelines.operations.search import ask

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    "open.md": ("# Seals\n\nThe shaft seal is inspected once a year.", None),
    "closed.md": ("# Fees\n\nThe board decides on fees.", ["group:board"]),
}


def sql_of(page: str, containing: str, tenant: str) -> str:
    """The SQL block of a page that contains this text, for this tenant and its own login."""
    blocks = re.findall(r"```sql\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if containing in block]
    named = re.sub(r"headrace_(tenant|reader)_acme\b", rf'"headrace_\1_{tenant}"', block).replace("tenant_acme", f'"tenant_{tenant}"')
    return str(named.replace("acme_rag", f'"{tenant}_rag"').replace("'…'", "'secret'"))


@pytest.fixture(scope="module")
def readable(app: Headrace) -> Iterator[tuple[str, str]]:
    """A tenant with an open and a closed page, and the URL of an application's login to it."""
    from pipelines.governance.tenants import add, remove

    tenant = "readable"
    add(app, tenant)
    with Publisher(app.endpoints.kafka_client(), tenant, source="/wiki") as publisher:
        for name, (content, acl) in PAGES.items():
            publisher.upsert(name, content=content, acl=acl, media_type="text/markdown")
    app.ingest(tenant)
    owner = app.endpoints.postgres_owner.get_secret_value()
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(sql_of("retrieval.md", "CREATE ROLE", tenant))
    parts = urlsplit(owner)
    yield tenant, urlunsplit(parts._replace(netloc=f"{tenant}_rag:secret@{parts.netloc.split('@')[1]}"))
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(f'REVOKE CONNECT ON DATABASE headrace FROM "{tenant}_rag"; DROP ROLE "{tenant}_rag"')
    remove(app, tenant)


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'sentence_transformers', 'confluent_kafka', 'psycopg', 'pydantic', 'dagster'}"
    code = f"import sys, headrace; print(dir(headrace)); sys.exit(str({heavy} & sys.modules.keys()) if {heavy} & sys.modules.keys() else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Publisher" in done.stdout


def test_every_public_name_exists_and_no_other() -> None:
    assert all(getattr(headrace, name).__name__ == name for name in headrace.__all__)
    with pytest.raises(AttributeError):
        headrace.Pipeline  # noqa: B018


def test_an_application_finds_only_what_its_user_may_read_with_citations(readable: tuple[str, str]) -> None:
    tenant, url = readable
    with Index(url, tenant) as index:
        best = index.search("how often is the seal inspected", top=1)[0]
        assert best.heading_path == ("Seals",)
        assert [citation.document for citation in best.citations] == ["open.md"]
        for principals, expected in (((), {"open.md"}), (["group:board"], {"open.md", "closed.md"})):
            assert {c.document for passage in index.search("fees", principals) for c in passage.citations} == expected


def test_an_applications_login_reaches_no_other_tenant(readable: tuple[str, str], acme: str) -> None:
    with Index(readable[1], acme) as index, pytest.raises(HeadraceError) as refused:
        index.search("anything")
    assert refused.value.reason == "database-error"
    with Index(readable[1], "nobody-here") as index, pytest.raises(TenantError):
        index.search("anything")


def test_an_invalid_configuration_is_refused_when_the_index_is_created(readable: tuple[str, str]) -> None:
    tenant, url = readable
    with pytest.raises(TenantError):
        Index(url, "Not Allowed")
    with pytest.raises(ConfigurationError, match="device"):
        Index(url, tenant, device="abacus")
    with pytest.raises(ConfigurationError):
        Index(url, tenant, model="/there/is/no/such/model")


ODD: list[tuple[dict[str, Any], str]] = [
    ({"query": ""}, "bad-query"),
    ({"query": " \n"}, "bad-query"),
    ({"query": "fees\ud800"}, "bad-query"),
    ({"top": 0}, "bad-top"),
    ({"top": -1}, "bad-top"),
    ({"top": 10**9}, "bad-top"),
    ({"top": None}, "bad-top"),
    ({"principals": "group:board"}, "bad-principals"),
    ({"principals": {"group:board": True}}, "bad-principals"),
    ({"principals": ["group:board\ud800"]}, "bad-principals"),
    ({"principals": ["group:board\0"]}, "bad-principals"),
    ({"principals": None}, "bad-principals"),
]


def test_an_odd_argument_of_a_search_is_refused_alike_in_python_and_on_the_command_line(readable: tuple[str, str], app: Headrace) -> None:
    tenant, url = readable
    with Index(url, tenant) as index:
        for odd, reason in ODD:
            for search in (index.search, partial(ask, app, tenant)):
                with pytest.raises(HeadraceError) as refused:
                    search(**{"query": "fees", **odd})
                assert refused.value.reason == reason


def test_an_odd_argument_of_the_pages_sql_is_refused_or_finds_nothing(readable: tuple[str, str]) -> None:
    """Never what the caller may not read: a text is no list of principals for Postgres either."""
    tenant, url = readable
    query, view = sql_of("retrieval.md", "FROM search", tenant), sql_of("retrieval.md", "FROM passage", tenant)
    asked = {"vector": str([1.0] + [0.0] * 383), "question": "fees"}
    with psycopg.connect(url, autocommit=True) as connection:
        for refused in ("group:board", "*", ["group:board\0"], ["group:board\ud800"]):
            for one in (query, view):
                with pytest.raises((psycopg.DataError, UnicodeEncodeError)):
                    connection.execute(one, {**asked, "principals": refused})
        nobody: list[str] | None
        for nobody in (None, []):
            rows = connection.execute(query, {**asked, "principals": nobody}).fetchall()
            assert {cited["document"] for row in rows for cited in row[-1]} == {"open.md"}
            assert connection.execute(view, {"principals": nobody}).fetchall() == []
        with pytest.raises(psycopg.DataError):
            connection.execute(query, {**asked, "vector": "", "principals": ["*"]})


@pytest.mark.parametrize(("right", "wrong"), [(":secret@", ":Tr0ub4dor@"), ("readable_rag", "nobody"), ("/headrace", "/nowhere")])
def test_a_login_that_postgres_refuses_is_a_wrong_configuration_before_the_model_is_loaded(
    readable: tuple[str, str], right: str, wrong: str, capfd: pytest.CaptureFixture[str]
) -> None:
    tenant, url = readable
    # no model could be loaded: nothing answers at this endpoint
    model: dict[str, Any] = {"backend": "http", "endpoint": {"url": "http://127.0.0.1:1"}}
    wrong_url = url.replace("postgresql://", "postgresql+psycopg://").replace(right, wrong)
    with Index(wrong_url, tenant, **model) as index, pytest.raises(ConfigurationError, match="reader_url") as refused:
        index.search("fees")
    assert "Tr0ub4dor" not in str(refused.value)
    assert "".join(capfd.readouterr()) == ""


def test_sqlalchemys_url_is_taken(readable: tuple[str, str]) -> None:
    tenant, url = readable
    with Index(url.replace("postgresql://", "postgresql+psycopg://"), tenant) as index:
        assert index.search("fees")


def test_the_pages_sql_finds_what_the_command_line_finds(readable: tuple[str, str], app: Headrace) -> None:
    tenant, url = readable
    question = "how often is the seal inspected"
    vector = app.models.embedder.encode([question], "query")[0].tolist()
    with psycopg.Connection[dict[str, Any]].connect(url, row_factory=dict_row) as connection:
        query = sql_of("retrieval.md", "FROM search", tenant)
        view = sql_of("retrieval.md", "FROM passage", tenant)
        for principals, expected in ((["*"], {"open.md"}), (["*", "group:board"], {"open.md", "closed.md"})):
            values = {"vector": str(vector), "question": question, "principals": principals}
            rows = connection.execute(query, values).fetchall()
            assert {cited["document"] for row in rows for cited in row["documents"]} == expected
            assert {row["document"] for row in connection.execute(view, values)} == expected
        assert rows[0]["text"] == ask(app, tenant, question)[0].text
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT FROM document")


def test_the_pages_sql_rebuilds_a_graph_that_was_lost(readable: tuple[str, str], app: Headrace) -> None:
    tenant, _ = readable
    before = app.models.projection.counts(tenant)
    app.models.projection.drop(tenant)
    assert app.ingest(tenant)[1]["project"].done == 0
    with psycopg.connect(app.endpoints.postgres_pipeline.get_secret_value(), autocommit=True) as connection:
        connection.execute(sql_of("operations.md", "stage = 'project'", tenant))
    app.ingest(tenant)
    assert app.models.projection.counts(tenant) == before != {}
