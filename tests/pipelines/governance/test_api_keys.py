"""API keys: shown once, stored as digests, for one tenant, in force until they are revoked or expire."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import HeadraceError, TenantError
from core.schema.migrate import owner
from pipelines import cli
from pipelines.app import Headrace
from pipelines.governance import api_keys, audit
from pipelines.governance.tenants import add, remove
from tests.pipelines.cli.test_cli import config

__all__ = ["config"]


def test_a_key_stands_for_its_tenant_and_principals_until_it_is_revoked(app: Headrace, acme: str) -> None:
    made, text = api_keys.add(app, acme, ["group:a", "user:jo"], rate=3, days=1, note="the portal")
    assert api_keys.in_force(app, text) == made
    assert (made.tenant, made.principals, made.rate, made.note) == (acme, ("group:a", "user:jo"), 3, "the portal")
    assert (made.expires_at - made.created_at).days == 1
    revoked = api_keys.revoke(app, made.key)
    assert revoked.revoked_at is not None
    assert api_keys.in_force(app, text) is None
    assert api_keys.revoke(app, made.key) == revoked
    assert api_keys.every(app, acme) == [revoked]


def test_an_expired_key_is_not_in_force(app: Headrace, acme: str) -> None:
    made, text = api_keys.add(app, acme, ())
    with owner(app.owner_url) as connection:
        connection.execute("UPDATE headrace.api_key SET expires_at = now() WHERE key = %s", (made.key,))
    assert api_keys.in_force(app, text) is None


def test_no_other_text_is_taken_for_a_key(app: Headrace, acme: str) -> None:
    made, text = api_keys.add(app, acme, ())
    _, other = api_keys.add(app, acme, ())
    secret = text.rpartition(made.key)[2]
    wrong = [
        text[:-1],
        text + "A",
        text.upper(),
        f" {text}",
        f"{text}\n",
        f"hr_{made.key}_{'A' * 43}",
        other[:16] + secret,
        "",
        "hr__",
        made.key,
    ]
    assert [api_keys.in_force(app, one) for one in wrong] == [None] * len(wrong)


@pytest.fixture(scope="module")
def key(app: Headrace) -> str:
    add(app, "keys-any")
    return api_keys.add(app, "keys-any", ())[1]


@given(text=st.text() | st.text(string.ascii_letters + string.digits + "-_", min_size=43, max_size=43))
def test_no_text_but_the_key_is_in_force(app: Headrace, key: str, text: str) -> None:
    assert api_keys.in_force(app, text) is None
    assert text == key[16:] or api_keys.in_force(app, key[:16] + text) is None


def test_nothing_that_is_stored_shows_the_key(app: Headrace, acme: str) -> None:
    made, text = api_keys.add(app, acme, ["group:a"])
    with app.database.control() as connection:
        [row] = connection.execute("SELECT to_jsonb(k)::text AS row FROM headrace.api_key k WHERE key = %s", (made.key,))
    entries = audit.entries(app, acme)
    assert [(entry["action"], entry["state"]) for entry in entries[:2]] == [("api-key-add", "done"), ("api-key-add", "begun")]
    assert text[16:] not in row["row"] + repr(entries) + repr(made)
    assert "group:a" not in repr(entries)


def test_a_tenant_made_again_has_none_of_its_former_keys(app: Headrace, tenant: str) -> None:
    add(app, tenant)
    text = api_keys.add(app, tenant, ())[1]
    remove(app, tenant)
    add(app, tenant)
    assert (api_keys.in_force(app, text), api_keys.every(app, tenant)) == (None, [])


def test_what_cannot_be_a_key_is_refused(app: Headrace, acme: str) -> None:
    with pytest.raises(TenantError):
        api_keys.add(app, "nobody-here", ())
    with pytest.raises(HeadraceError, match="bad-principals"):
        api_keys.add(app, acme, ["\0"])
    with pytest.raises(HeadraceError, match="unknown-api-key"):
        api_keys.revoke(app, "0" * 12)


@pytest.mark.usefixtures("config")
def test_keys_are_added_listed_and_revoked_by_command(app: Headrace, acme: str, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> object:
        assert cli.run(["api-key", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    made = call("add", "--tenant", acme, "--as", "group:a, user:jo", "--rate", "2.5", "--days", "7", "--note", "portal")
    assert isinstance(made, dict)
    text = made.pop("api_key")
    assert api_keys.in_force(app, text) is not None
    assert (made["principals"], made["rate"], made["note"]) == (["group:a", "user:jo"], 2.5, "portal")
    assert call("list", "--tenant", acme) == [made]
    assert call("revoke", made["key"]) != made
    assert api_keys.in_force(app, text) is None
    assert cli.run(["api-key", "revoke", "0" * 12]) == 5
