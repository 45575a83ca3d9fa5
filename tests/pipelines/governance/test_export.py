"""An export has a tenant's redacted data, is readable without Headrace, and appears complete or not at all."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from core.errors import HeadraceError, TenantError
from pipelines import cli
from pipelines.app import Headrace
from pipelines.governance import audit, export
from pipelines.governance.tenants import add
from pipelines.operations.search import ask
from tests.tenant_fixture import World, publish, rows

EMAIL = "jane.roe@example.com"
PHONE = "020 7946 0958"
PAGE = f"# Seals\n\nThe shaft seal of the {{}} is inspected by {EMAIL}, see [the manual](manual), call {PHONE}.\n"


@pytest.fixture(scope="module")
def exported(app: Headrace, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict[str, Any]]:
    """A tenant with documents that were indexed, one that failed and one that only landed; its export, and the manifest."""
    tenant = f"export-{id(app) % 10_000}"
    add(app, tenant)
    publish(app, tenant, 1, acl=("user:ada",), pump=PAGE.format("pump"), copy=PAGE.format("pump"), documents={EMAIL: PAGE.format("mill")})
    publish(app, tenant, 1, broken=b"%PDF-1.7 nothing of one", gone="# Gone\n")
    app.ingest(tenant)
    publish(app, tenant, 1, late=PAGE.format("fan"))
    app.land(tenant)
    folder = tmp_path_factory.mktemp("exports") / "acme"
    return tenant, folder, export.export(app, tenant, folder, embeddings=True)


def read(folder: Path, table: str) -> pl.DataFrame:
    return pl.read_parquet(folder / f"{table}-*.parquet")


def test_what_search_cites_is_what_was_exported(app: Headrace, exported: tuple[str, Path, dict[str, Any]]) -> None:
    tenant, folder, _ = exported
    sources, chunks = read(folder, "sources"), read(folder, "chunks")
    passages = ask(app, tenant, "shaft seal", ["user:ada"], top=50)
    alike = [one for passage in passages for one in passage.alike]
    of_chunk = [(p.chunk, c) for p in passages for c in p.citations] + [(one.chunk, c) for one in alike for c in one.citations]
    cited = {(chunk, c.document_key, c.document, c.title, c.uri, c.page, c.ordinal, c.sequence) for chunk, c in of_chunk}
    columns = ("chunk", "document", "name", "title", "uri", "page", "ordinal", "sequence")
    assert cited == set(sources.select(columns).rows())
    assert len(cited) == 4
    found = {(p.chunk, p.text, p.heading_path) for p in passages}
    written = {(chunk, text, tuple(path)) for chunk, text, path in chunks.select("chunk", "text", "heading_path").rows()}
    assert found <= written
    assert {chunk for chunk, _, _ in written - found} == {one.chunk for one in alike}
    access = {tuple(acl) for acl in sources["acl"]}
    assert access == {("user:ada",), ("*",)}


def test_vectors_are_those_of_the_index(app: Headrace, exported: tuple[str, Path, dict[str, Any]]) -> None:
    tenant, folder, manifest = exported
    vectors = dict(read(folder, "chunks").select("chunk", "embedding").iter_rows())
    stored = {
        row["text_hash"]: row["embedding"]
        for row in rows(app, tenant, "SELECT text_hash, embedding::real[]::float8[] AS embedding FROM chunk")
    }
    assert vectors == {chunk: pytest.approx(vector) for chunk, vector in stored.items()}
    assert {len(vector) for vector in vectors.values()} == {manifest["index"]["dimension"]}


def test_every_live_document_is_there_and_one_that_was_not_redacted_has_no_words(
    app: Headrace, exported: tuple[str, Path, dict[str, Any]]
) -> None:
    tenant, folder, _ = exported
    world, documents = World(app, tenant), read(folder, "documents")
    by_key = {row["document"]: row for row in documents.iter_rows(named=True)}
    assert by_key.keys() == {world.key(name) for name in ("pump", "copy", EMAIL, "broken", "gone", "late")}
    assert {name for name in ("pump", "copy", "broken", "gone", "late") if by_key[world.key(name)]["redacted"]} == {"pump", "copy", "gone"}
    assert by_key[world.key(EMAIL)]["name"].startswith("<EMAIL:")
    assert json.loads(by_key[world.key("pump")]["found"]) == {"EMAIL": 1, "PHONE": 1}
    for name in ("late", "broken"):
        row = by_key[world.key(name)]
        assert {row[column] for column in ("name", "title", "uri", "metadata", "found")} == {None}


def test_the_graph_and_what_became_of_events_are_there(exported: tuple[str, Path, dict[str, Any]]) -> None:
    _, folder, _ = exported
    kinds = dict(read(folder, "entities").select("kind", "name").rows())
    assert kinds["EMAIL"].startswith("<EMAIL:")
    assert set(read(folder, "mentions")["entity"]) <= set(read(folder, "entities")["key"])
    assert set(read(folder, "relations")["kind"]) == {"NAMES"}
    assert read(folder, "outcomes")["fate"].to_list() == ["landed"] * 6
    assert read(folder, "dead_letters")["stage"].to_list() == ["parse"]


def test_nothing_of_a_document_stands_in_clear_in_any_file(exported: tuple[str, Path, dict[str, Any]]) -> None:
    _, folder, manifest = exported
    written = [(folder / export.MANIFEST).read_text(encoding="utf-8"), *(str(read(folder, name).to_dicts()) for name in manifest["tables"])]
    assert [value for value in (EMAIL, "jane.roe", PHONE) for text in written if value in text] == []


def test_the_manifest_names_every_file_with_its_digest_rows_and_columns(exported: tuple[str, Path, dict[str, Any]]) -> None:
    _, folder, manifest = exported
    assert json.loads((folder / export.MANIFEST).read_text(encoding="utf-8")) == manifest
    files = [file for table in manifest["tables"].values() for file in table["files"]]
    assert {path.name for path in folder.iterdir()} == {export.MANIFEST, *(file["path"] for file in files)}
    for name, table in manifest["tables"].items():
        assert table["rows"] == read(folder, name).height
        assert list(table["columns"]) == read(folder, name).columns
    for file in files:
        packed = (folder / file["path"]).read_bytes()
        assert (len(packed), sha256(packed).hexdigest()) == (file["bytes"], file["sha256"])
    assert folder.stat().st_mode & 0o77 == 0


def test_many_rows_are_many_files_and_none_is_one(app: Headrace, acme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "ROWS", 2)
    monkeypatch.setattr(export, "PAGE", 2)
    publish(app, acme, 1, {f"d{n}": f"# A\n\nPump {n} has a seal.\n" for n in range(5)})
    app.ingest(acme)
    manifest = export.export(app, acme, tmp_path / "out")
    for name in ("documents", "chunks", "sources", "outcomes"):
        assert [file["rows"] for file in manifest["tables"][name]["files"]] == [2, 2, 1]
    assert [file["rows"] for file in manifest["tables"]["dead_letters"]["files"]] == [0]
    assert sorted(read(tmp_path / "out", "documents")["document"]) == sorted(World(app, acme).key(f"d{n}") for n in range(5))
    assert read(tmp_path / "out", "dead_letters").columns == list(export.SCHEMAS["dead_letters"])


def test_a_document_that_was_updated_is_not_shown_by_its_words_of_before(app: Headrace, acme: str, tmp_path: Path) -> None:
    publish(app, acme, 1, acl=("user:ada",), pump=PAGE.format("pump"))
    app.ingest(acme)
    publish(app, acme, 2, acl=("*",), pump="# Pumps\n")
    app.land(acme)
    export.export(app, acme, tmp_path / "out")
    (row,) = read(tmp_path / "out", "documents").iter_rows(named=True)
    assert (row["sequence"], row["acl"], row["redacted"], row["name"], row["found"]) == (2, ["*"], False, None, None)
    assert read(tmp_path / "out", "mentions").height == 0
    # search has it as it was, with who might read that
    assert read(tmp_path / "out", "sources").select("sequence", "acl").rows() == [(1, ["user:ada"])]


def test_an_export_is_in_the_audit_log_with_counts(app: Headrace, exported: tuple[str, Path, dict[str, Any]]) -> None:
    tenant, _, manifest = exported
    done, begun = (entry for entry in audit.entries(app, tenant) if entry["action"] == "export")
    assert (begun["state"], begun["details"]) == ("begun", {"embeddings": True})
    counts = {name: table["rows"] for name, table in manifest["tables"].items()}
    assert (done["state"], done["details"]) == ("done", {"embeddings": True, **counts})


def test_a_folder_with_something_in_it_is_refused_and_left_as_it_is(app: Headrace, acme: str, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept", encoding="utf-8")
    for place in (tmp_path, tmp_path / "kept"):
        with pytest.raises(HeadraceError) as refused:
            export.export(app, acme, place)
        assert refused.value.reason == "export-not-empty"
    with pytest.raises(HeadraceError) as refused:
        export.export(app, acme, tmp_path / "not" / "there")
    assert refused.value.reason == "export-not-writable"
    with pytest.raises(HeadraceError) as refused:
        export.export(app, acme, tmp_path / ("x" * 300))
    assert refused.value.reason == "export-not-writable"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    with pytest.raises(TenantError):
        export.export(app, "nobody", tmp_path / "out")


def test_an_export_that_fails_leaves_nothing(app: Headrace, acme: str, tmp_path: Path) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    app.ingest(acme)
    rows(app, acme, "UPDATE artifact SET payload = 'torn' WHERE stage = 'graph' RETURNING 1")
    with pytest.raises(Exception, match=r"zstd|frame|decompress"):
        export.export(app, acme, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    assert audit.entries(app, acme)[0]["state"] == "failed"


def test_the_command_exports_into_an_empty_folder(
    app: Headrace, acme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    config = tmp_path / "headrace.toml"
    config.write_text(f'data_dir = "{app.settings.data_dir}"\n', encoding="utf-8")
    monkeypatch.setenv("HEADRACE_CONFIG", str(config))
    folder = tmp_path / "out"
    folder.mkdir()
    assert cli.run(["export", acme, "--to", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tenant"] == acme
    assert cli.run(["export", acme, "--to", str(folder)]) == 2
    assert "export-not-empty" in capsys.readouterr().err
