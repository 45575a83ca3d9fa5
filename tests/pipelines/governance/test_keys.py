"""Rotation of a surrogate key, change of the master key, sealed settings.

During a rotation search works, both keys are known, a worker with the former key writes nothing, and an interrupted rotation continues.
Afterwards no former surrogate is left.
"""

from __future__ import annotations

import hmac
import io
import json
import os
import signal
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from time import sleep
from typing import Any

import neo4j
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from core import artifacts, crashpoints
from core.config import master_key_bytes
from core.errors import HeadraceError, LostRace
from core.frames import Result
from core.keys import Surrogates
from core.ledger.ledger import Stale
from core.ledger.stage import Session, run
from core.schema.migrate import configure_tenant, locked_owner
from pipelines import cli, maintenance, sealed_settings
from pipelines.app import Headrace
from pipelines.governance import audit, erasure, master_key, receipts, surrogate_keys, tenants
from pipelines.governance.subjects import surrogates
from pipelines.operations.checks import check
from pipelines.operations.search import ask
from pipelines.operations.stage_counts import due
from pipelines.stages import registry
from pipelines.stages.registry import NAMES
from pipelines.stream import slots
from privacy import new_data_key, new_surrogate_key, rewrap, surrogate, tenant_keys
from privacy.encryption import installation_key, rewrap_surrogates
from tests.tenant_fixture import WIKI, FunctionStage, World, publish, rows

EMAIL = "jane.roe@example.com"
PAGE = f"# Seals of {EMAIL}\n\nThe shaft seal of the {{}} is inspected by {EMAIL} once a year.\n"
PLAIN = "# Pumps\n\nA pump has a seal.\n"
NOTHING = " \n"
"""A document without text: it fails."""
_NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def graph(app: Headrace) -> Iterator[neo4j.Driver]:
    auth = (app.endpoints.neo4j_username, app.endpoints.neo4j_password.get_secret_value())
    with neo4j.GraphDatabase.driver(app.endpoints.neo4j_url, auth=auth) as driver:
        yield driver


def token(app: Headrace, tenant: str) -> str:
    """The address's surrogate under the tenant's newest key."""
    return surrogate("EMAIL", EMAIL, app.session(tenant).keys)


def occurrences(app: Headrace, graph: neo4j.Driver, tenant: str, value: str) -> Counter[str]:
    """How often a text occurs in the tenant's data, by table or stage; sealed artifacts are opened."""
    world, found = World(app, tenant), Counter[str]()
    for table, texts in world.everything().items():
        found[table] += sum(value in text for text in texts)
    documents = [row["document"] for row in world.rows("SELECT document FROM document")]
    with world.session.transaction() as connection:
        for stage in NAMES:
            found[stage] += sum(value.encode() in p for p in artifacts.get(connection, world.session.keys, stage, documents).values())
    for what in ("MATCH (n) RETURN properties(n) AS stored", "MATCH ()-[r]->() RETURN properties(r) AS stored"):
        found["neo4j"] += sum(value in str(record["stored"]) for record in graph.execute_query(what).records)
    return +found


def vectors_without_a_text(app: Headrace, tenant: str) -> list[dict[str, Any]]:
    used = "SELECT text_hash FROM chunk UNION SELECT context_hash FROM indexed"
    return rows(app, tenant, f"SELECT text_hash FROM embedding WHERE text_hash NOT IN ({used})")


def best(app: Headrace, tenant: str) -> str:
    """The first passage found by a query for the address."""
    return ask(app, tenant, EMAIL, top=1)[0].text


def identities(app: Headrace, tenant: str) -> list[dict[str, Any]]:
    return rows(
        app, tenant, "SELECT document, source_key, state_key, content_key, envelope_key, acl_key, envelope FROM document ORDER BY document"
    )


# --- after a rotation


def test_after_a_rotation_the_old_surrogates_are_nowhere_and_the_new_ones_are_the_same_in_all_documents(
    app: Headrace, graph: neo4j.Driver, acme: str, globex: str
) -> None:
    for tenant in (acme, globex):
        publish(app, tenant, 1, pump=PAGE.format("pump"), fan=PAGE.format("fan"), plain=PLAIN, documents={EMAIL: PAGE.format("mill")})
        app.ingest(tenant)
    old, theirs, ids, sealed = token(app, acme), World(app, globex).everything(), identities(app, acme), World(app, acme).artifact
    before = sealed("land", "pump"), sealed("parse", "pump")
    assert occurrences(app, graph, acme, old).keys() == {"chunk", "indexed", "redact", "graph", "neo4j"}
    begun = surrogate_keys.rotate(app, acme)
    assert (begun.epoch, begun.documents, begun.without_original, surrogate_keys.remaining(app, acme)) == (1, 4, 0, 4)
    _, reports = app.ingest(acme)
    # a document without a surrogate is redacted again with the same result, and only indexed again
    assert {
        name: (report.done, report.revalidated) for name, report in reports.items() if name in ("parse", "redact", "chunk", "index")
    } == {
        "parse": (0, 0),
        "redact": (4, 0),
        "chunk": (3, 1),
        "index": (4, 0),
    }
    new = token(app, acme)
    assert old != new
    assert occurrences(app, graph, acme, old) == {}
    assert len(rows(app, acme, f"SELECT FROM chunk WHERE strpos(text, '{new}') > 0")) == 3
    assert new in best(app, acme)
    assert vectors_without_a_text(app, acme) == []
    assert (app.session(acme).keys.former, surrogate_keys.remaining(app, acme), due(app, acme)) == (None, None, 0)
    assert sum(report.moved for report in app.ingest(acme)[1].values()) == 0
    assert (identities(app, acme), (sealed("land", "pump"), sealed("parse", "pump"))) == (ids, before)
    assert World(app, globex).everything() == theirs
    assert [(e["action"], e["details"]) for e in audit.entries(app, acme) if e["state"] == "done"] == [
        ("surrogates-forget", {"epoch": 1, "withdrawn": 0, "vectors": 4}),
        ("surrogates-rotate", {"epoch": 1, "documents": 4, "without_original": 0}),
    ]


def test_search_answers_after_every_stage_and_switches_once(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, pump=PAGE.format("pump"), fan=PAGE.format("fan"))
    app.ingest(acme)
    old = token(app, acme)
    surrogate_keys.rotate(app, acme)
    publish(app, acme, 1, mill=PLAIN)
    app.land(acme)
    app.run(acme, "parse")
    new, answers = token(app, acme), [best(app, acme)]
    one = [World(app, acme).key(name) for name in ("pump", "mill")]
    for name in NAMES:
        for only in (one, None):
            app.step(app.session(acme), name, only=only)
            answers.append(best(app, acme))
            # a document that landed meanwhile waits for the promotion, and is not missing
            found = check(app, acme, "index_completeness")
            assert found.passed or found.severity == "warn"
    switch = 2 * (NAMES.index("index") + 1)
    assert [old in answer for answer in answers] == [True] * switch + [False] * (len(answers) - switch)
    assert [new in answer for answer in answers] == [False] * switch + [True] * (len(answers) - switch)


def test_no_stage_takes_what_was_made_with_the_former_key_for_its_input(app: Headrace, graph: neo4j.Driver, acme: str) -> None:
    publish(app, acme, 1, pump=PAGE.format("pump"))
    app.ingest(acme)
    old = token(app, acme)
    surrogate_keys.rotate(app, acme)
    for name in reversed(NAMES[2:]):
        assert app.run(acme, name).moved == 0
    assert rows(app, acme, "SELECT state FROM generation") == [{"state": "active"}]
    app.ingest(acme)
    assert occurrences(app, graph, acme, old) == {}


def test_a_rotation_waits_for_the_one_before_and_may_follow_it(app: Headrace, graph: neo4j.Driver, acme: str) -> None:
    publish(app, acme, 1, pump=PAGE.format("pump"))
    app.ingest(acme)
    seen = [token(app, acme)]
    for epoch in (1, 2):
        assert surrogate_keys.rotate(app, acme).epoch == epoch
        with pytest.raises(HeadraceError) as refused:
            surrogate_keys.rotate(app, acme)
        assert refused.value.reason == "rotation-unfinished"
        assert seen[-1] in best(app, acme)
        seen.append(token(app, acme))
        app.ingest(acme)
    assert len(set(seen)) == 3
    assert [bool(occurrences(app, graph, acme, one)) for one in seen] == [False, False, True]


def test_a_tenant_under_legal_hold_is_not_rotated(app: Headrace, acme: str) -> None:
    tenants.configure(app, acme, retention={"legal_hold": True})
    with pytest.raises(HeadraceError) as refused:
        surrogate_keys.rotate(app, acme)
    assert (refused.value.reason, app.session(acme).keys.epoch) == ("legal-hold", 0)


def test_what_was_being_built_with_the_former_key_is_given_up(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, pump=PAGE.format("pump"))
    app.ingest(acme)
    rows(
        app,
        acme,
        "WITH made AS (INSERT INTO generation (fingerprint, model, dimension, state) VALUES ('other', 'other', 3, 'building') "
        "RETURNING generation) INSERT INTO indexed (generation, document, name, title, uri, access, sequence) "
        "SELECT generation, repeat('0', 32), '', '', '', 1, 1 FROM made RETURNING 1",
    )
    surrogate_keys.rotate(app, acme)
    assert rows(app, acme, "SELECT FROM indexed") == [{}]
    assert rows(app, acme, "SELECT state FROM generation WHERE fingerprint = 'other'") == [{"state": "retired"}]


# --- during a rotation


def test_who_computed_with_the_former_key_writes_nothing(app: Headrace, graph: neo4j.Driver, acme: str) -> None:
    publish(app, acme, 1, pump=PAGE.format("pump"))
    app.ingest(acme)
    old, late = token(app, acme), app.session(acme)
    publish(app, acme, 2, pump=PAGE.format("fan"))
    app.land(acme)
    app.run(acme, "parse")
    redact = registry.build("redact", app, late.policy, late.keys.epoch)

    def overtaken(session: Session, stale: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        results = redact.compute(session, stale, tally)
        if not app.session(acme).keys.former:
            surrogate_keys.rotate(app, acme)
        return results

    report = run(FunctionStage(redact.step, overtaken, redact.store), late)
    assert (report.done, report.superseded) == (0, 1)
    app.ingest(acme)
    done = World(app, acme).everything()
    for name in NAMES:
        assert run(registry.build(name, app, late.policy, late.keys.epoch), late).moved == 0
    assert World(app, acme).everything() == done
    assert occurrences(app, graph, acme, old) == {}


def test_erasing_by_subject_in_the_middle_finds_what_was_made_with_either_key(app: Headrace, graph: neo4j.Driver, acme: str) -> None:
    publish(app, acme, 1, pump=PAGE.format("pump"), fan=PAGE.format("fan"), plain=PLAIN)
    app.ingest(acme)
    old = token(app, acme)
    surrogate_keys.rotate(app, acme)
    app.step(app.session(acme), "redact", only=[World(app, acme).key("pump")])
    assert {old, token(app, acme)} <= set(surrogates(app, app.session(acme), EMAIL))
    receipt = erasure.erase_subject(app, acme, EMAIL)
    assert (receipt.documents, receipt.not_looked_at, receipt.complete) == (2, 0, True)
    app.ingest(acme)
    assert occurrences(app, graph, acme, old) == {}
    assert app.session(acme).keys.former is None
    assert old not in surrogates(app, app.session(acme), EMAIL)


def test_a_document_that_landed_in_the_middle_has_still_to_be_looked_at(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, pump=PAGE.format("pump"))
    app.ingest(acme)
    surrogate_keys.rotate(app, acme)
    publish(app, acme, 2, pump=PLAIN)
    app.land(acme)
    assert erasure.erase_subject(app, acme, "nobody@example.com").not_looked_at == 1


def test_a_document_that_fails_leaves_with_the_switch_and_comes_back_mended(app: Headrace, graph: neo4j.Driver, acme: str) -> None:
    publish(app, acme, 1, pump=PAGE.format("pump"), fan=PAGE.format("fan"))
    app.ingest(acme)
    publish(app, acme, 2, pump=NOTHING)
    app.ingest(acme)
    old = token(app, acme)
    surrogate_keys.rotate(app, acme)
    session = app.session(acme)
    for name in NAMES:
        run(registry.build(name, app, session.policy, session.keys.epoch), session)
    with Headrace(app.settings, app.endpoints.model_copy(update={"neo4j_url": "bolt://127.0.0.1:1"})) as graphless:
        # reuses loaded models
        vars(graphless.models)["embedder"] = app.models.embedder
        assert not surrogate_keys.finish(graphless, session), "the graph still has the failed document's contribution"
    assert app.session(acme).keys.former is not None
    # no document will end it; the maintenance of an idle stream does
    maintenance.run_due(app, session)
    assert occurrences(app, graph, acme, old) == {}
    assert app.session(acme).keys.former is None
    publish(app, acme, 3, pump=PAGE.format("pump"))
    app.ingest(acme)
    assert occurrences(app, graph, acme, token(app, acme)).keys() == {"chunk", "redact", "graph", "neo4j"}
    assert set(app.models.projection.documents(acme)) == {World(app, acme).key(name) for name in ("pump", "fan")}
    assert due(app, acme) == 0


class Died(BaseException):
    """Raised by a signal: what is not committed is lost, as when a process dies."""


@contextmanager
def dying() -> Iterator[Callable[[str], None]]:
    """Yields a function that makes this process raise `Died` at a crash point."""

    def died(*_: object) -> None:
        raise Died

    before = signal.signal(signal.SIGUSR1, died)
    try:
        yield lambda point: crashpoints.arm(point, by=signal.SIGUSR1)
    finally:
        crashpoints.disarm()
        signal.signal(signal.SIGUSR1, before)


STRUCK = (
    *("redact:after-commit", "embed:after-commit", "index:before-commit", "index:after-commit"),
    *("promote:before-commit", "promote:after-commit", "project:written"),
)
PROMOTED = STRUCK[-2:]
"""Points after the promotion: search uses the new key there."""


def test_wherever_a_rotation_is_cut_off_it_goes_on_and_search_answers(app: Headrace, graph: neo4j.Driver, acme: str) -> None:
    publish(app, acme, 1, pump=PAGE.format("pump"), fan=PAGE.format("fan"))
    app.ingest(acme)
    old = token(app, acme)
    surrogate_keys.rotate(app, acme)
    new = token(app, acme)
    with dying() as strike:
        for point in STRUCK:
            strike(point)
            with pytest.raises(Died):
                app.ingest(acme)
            assert (new if point in PROMOTED else old) in best(app, acme)
    assert app.session(acme).keys.former is not None
    app.ingest(acme)
    assert occurrences(app, graph, acme, old) == {}
    assert (app.session(acme).keys.former, vectors_without_a_text(app, acme)) == (None, [])


# --- keys


@given(st.binary(max_size=64), st.text(max_size=20), st.integers(1, 5), st.booleans())
def test_no_rotation_changes_what_is_sealed_or_digested_and_each_changes_every_surrogate(
    plain: bytes, value: str, epoch: int, derived: bool
) -> None:
    master, other = os.urandom(32), os.urandom(32)
    wrapped, former = new_data_key(master, "acme"), None if derived else new_surrogate_key(master, "acme")
    first = tenant_keys(master, "acme", wrapped)
    known = Surrogates(epoch, new_surrogate_key(master, "acme"), former, rotated_at=_NOW)
    rotated = tenant_keys(master, "acme", wrapped, known)
    assert rotated.open(first.seal(plain, "land/x"), "land/x") == plain
    assert rotated.digest(plain, "document") == first.digest(plain, "document")
    assert rotated.former is not None
    assert surrogate("EMAIL", value, rotated) != surrogate("EMAIL", value, rotated.former)
    assert (surrogate("EMAIL", value, rotated.former) == surrogate("EMAIL", value, first)) == derived
    # a new master key changes none of it
    again = tenant_keys(other, "acme", rewrap(master, other, "acme", wrapped), rewrap_surrogates(master, other, "acme", known))
    assert again.former is not None
    assert surrogate("EMAIL", value, again) == surrogate("EMAIL", value, rotated)
    assert surrogate("EMAIL", value, again.former) == surrogate("EMAIL", value, rotated.former)


@pytest.fixture
def config(app: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration for commands that run in this process."""
    path = tmp_path / "headrace.toml"
    path.write_text(f'data_dir = "{app.settings.data_dir}"\n', encoding="utf-8")
    monkeypatch.setenv("HEADRACE_CONFIG", str(path))


@pytest.mark.usefixtures("config")
def test_the_command_takes_the_new_master_key_from_standard_input(
    app: Headrace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(app.endpoints.master_key.get_secret_value() + "\n"))
    assert cli.run(["keys", "rewrap", "--yes", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"] == "this is the master key that is in force"


@pytest.mark.usefixtures("config")
def test_the_command_rotates_and_says_so(app: Headrace, acme: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["tenant", "rotate", acme, "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"tenant": acme, "epoch": 1, "documents": 0, "without_original": 0}
    app.ingest(acme)
    assert app.session(acme).keys.former is None


# --- the master key


@pytest.fixture
def rewrapped(app: Headrace, acme: str) -> Iterator[tuple[Headrace, master_key.Rewrapped, list[dict[str, Any]]]]:
    """The installation under another master key, the result of the change, and two earlier receipts; the key is changed back afterwards.

    The tenant is in its second rotation, so it has two surrogate keys.
    """
    publish(app, acme, 1, pump=PAGE.format("pump"), fan=PAGE.format("fan"))
    app.ingest(acme)
    surrogate_keys.rotate(app, acme)
    app.ingest(acme)
    surrogate_keys.rotate(app, acme)
    before = [receipts.as_written(erasure.erase(app, acme, "fan")), receipts.as_written(erasure.erase_source(app, acme, WIKI))]
    publish(app, acme, 2, pump=PAGE.format("pump"))
    other = SecretStr(b64encode(os.urandom(32)).decode())
    with Headrace(app.settings, app.endpoints.model_copy(update={"master_key": other})) as after:
        # reuses loaded models
        vars(after)["models"] = app.models
        done = master_key.rewrap(app, other)
        try:
            yield after, done, before
        finally:
            _changed_back(after, app.endpoints.master_key)


def _changed_back(after: Headrace, master: SecretStr) -> None:
    """Later tests need the first key: retry while something of this test still writes the audit log."""
    for _ in range(20):
        with suppress(LostRace):
            master_key.rewrap(after, master)
            return
        sleep(0.1)
    master_key.rewrap(after, master)


def test_under_a_new_master_key_all_goes_on_and_what_was_signed_and_sealed_before_is_verified(
    app: Headrace, rewrapped: tuple[Headrace, master_key.Rewrapped, list[dict[str, Any]]], acme: str
) -> None:
    after, done, receipts_before = rewrapped
    assert done.tenants >= 1
    old, new = after.session(acme).keys.former, after.session(acme).keys
    assert old is not None
    after.ingest(acme)
    assert surrogate("EMAIL", EMAIL, new) in best(after, acme)
    assert audit.verify(after, audit.parse_mark(done.audit)).whole
    assert [receipts.verify(after, receipt).signature for receipt in receipts_before] == [True, True]
    again = erasure.erase(after, acme, "pump")
    assert (again.complete, receipts.verify(after, receipts.as_written(again)).verified) == (True, True)
    # the old master key cannot sign anything newer than the change
    unsigned = {name: value for name, value in receipts.as_written(again).items() if name != "signature"} | {"documents": 2}
    plain = json.dumps(unsigned, sort_keys=True, separators=(",", ":")).encode()
    master = [master_key_bytes(each.endpoints.master_key) for each in (app, after)]
    forged = [unsigned | {"signature": hmac.digest(installation_key(one, "receipt"), plain, sha256).hex()} for one in master]
    assert [receipts.authentic(after, one) for one in forged] == [False, True]
    # it can sign a receipt that names an entry from before the change, but the log has another digest for that erasure
    made_up = {name: value for name, value in receipts_before[1].items() if name != "signature"} | {"documents": 9}
    plain = json.dumps(made_up, sort_keys=True, separators=(",", ":")).encode()
    verified = receipts.verify(after, made_up | {"signature": hmac.digest(installation_key(master[0], "receipt"), plain, sha256).hex()})
    assert (verified.signature, verified.audit, verified.verified) == (True, False, False)
    assert [receipts.verify(after, receipt).audit for receipt in receipts_before] == [True, True]


def test_who_has_the_old_master_key_begins_nothing_any_more(
    app: Headrace, rewrapped: tuple[Headrace, master_key.Rewrapped, list[dict[str, Any]]], acme: str, tenant: str
) -> None:
    with pytest.raises(HeadraceError) as refused:
        app.session(acme)
    assert refused.value.reason == "cannot-decrypt"
    before = audit.entries(app, None, 1)
    with pytest.raises(HeadraceError) as refused:
        audit.note(app, "export", acme, "begun", {})
    assert refused.value.reason == "master-key-changed"
    assert audit.entries(app, None, 1) == before
    assert app.database.get(acme).tenant == acme
    with pytest.raises(HeadraceError) as refused:
        tenants.add(app, tenant)
    assert refused.value.reason == "master-key-changed"
    assert tenant not in [each.tenant for each in app.database.tenants()]


def test_a_rotation_that_waited_for_a_change_of_the_master_key_is_refused_and_breaks_nothing(app: Headrace, acme: str) -> None:
    before, master = app.database.get(acme), master_key_bytes(app.endpoints.master_key)
    with ThreadPoolExecutor(1) as threads, locked_owner(app.endpoints.postgres_owner.get_secret_value()) as connection:
        connection.execute("SELECT FROM headrace.tenant WHERE tenant = %(tenant)s FOR UPDATE", {"tenant": acme})
        with World(app, acme).until_blocked():
            late = threads.submit(surrogate_keys.rotate, app, acme)
        again = {"tenant": acme, "wrapped": rewrap(master, master, acme, before.wrapped_key)}
        connection.execute("UPDATE headrace.tenant SET wrapped_key = %(wrapped)s WHERE tenant = %(tenant)s", again)
    with pytest.raises(HeadraceError) as refused:
        late.result()
    assert refused.value.reason == "master-key-changed"
    assert app.database.get(acme).surrogates == before.surrogates
    assert surrogate_keys.rotate(app, acme).epoch == 1


def test_a_master_key_that_is_none_or_the_same_or_while_a_stream_runs_is_refused(app: Headrace, acme: str) -> None:
    before = app.database.get(acme)
    for bad in ("short", b64encode(b"x").decode(), app.endpoints.master_key.get_secret_value()):
        with pytest.raises(HeadraceError) as refused:
            master_key.rewrap(app, SecretStr(bad))
        assert (refused.value.reason, bad in str(refused.value)) == ("bad-master-key", False)
    with slots.occupied(app, f"slot of {acme}"), pytest.raises(HeadraceError) as refused:
        master_key.rewrap(app, SecretStr(b64encode(os.urandom(32)).decode()))
    assert refused.value.reason == "still-running"
    assert app.database.get(acme) == before


# --- lists of values


def test_lists_of_values_are_sealed_in_the_tenants_row_and_work(app: Headrace, tenant: str) -> None:
    tenants.add(app, tenant, {"privacy": {"deny": ["Ottilie Vanderbeek"], "languages": ["en"]}})
    at_rest = app.database.get(tenant).configuration
    assert "Ottilie" not in str(at_rest)
    assert [value.get_secret_value() for value in app.session(tenant).policy.privacy.deny] == ["Ottilie Vanderbeek"]
    assert sealed_settings.counted(at_rest)["privacy"] == {"deny": "1 values", "languages": ["en"]}
    tenants.configure(app, tenant, privacy={**at_rest["privacy"], "allow": ["Support"]})
    assert "Support" not in str(app.database.get(tenant).configuration)
    assert [value.get_secret_value() for value in app.session(tenant).policy.privacy.deny] == ["Ottilie Vanderbeek"]
    publish(app, tenant, 1, page="# Seals\n\nOttilie Vanderbeek inspects the seal.\n")
    app.ingest(tenant)
    assert "Ottilie" not in ask(app, tenant, "seal", top=1)[0].text


def test_lists_that_an_earlier_version_kept_in_clear_work_and_are_sealed(app: Headrace, acme: str) -> None:
    configure_tenant(app.endpoints.postgres_owner.get_secret_value(), acme, {"privacy": {"deny": ["Ottilie Vanderbeek"]}})
    policy = app.session(acme).policy
    assert len(policy.privacy.deny) == 1
    assert [attempt.tenant for attempt in tenants.seal_all(app) if attempt.result] == [acme]
    assert "Ottilie" not in str(app.database.get(acme).configuration)
    assert app.session(acme).policy == policy
    assert not any(attempt.result for attempt in tenants.seal_all(app))


def test_a_list_that_cannot_work_is_refused_and_nothing_is_written(app: Headrace, acme: str) -> None:
    with pytest.raises(HeadraceError) as refused:
        tenants.configure(app, acme, privacy={"deny": ["Ottilie", " "]})
    assert (refused.value.reason, "Ottilie" in str(refused.value)) == ("bad-policy", False)
    assert app.database.get(acme).configuration == {}
