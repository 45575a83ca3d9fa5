"""URLs of Postgres: what is taken, and that no part of another is ever said: in an error, in its chain, in a repr."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from core.config import Settings
from core.config.settings import load
from core.errors import ConfigurationError
from core.postgres_url import address, login_is_refused, postgres_url
from headrace import Index

SECRET = "Tr0ub4dor"
HARD = "@/:#?[]%&=+ \\'\"\n\té\0"


@pytest.fixture(autouse=True, scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A working directory without a configuration, and none of our variables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("bare"))
        for name in [name for name in os.environ if name.upper().startswith("HEADRACE_")]:
            patch.delenv(name)
        yield


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("postgresql://rag:pw@db.example.com/headrace", None),
        ("postgresql+psycopg://rag:pw@db:5432/headrace", "postgresql://rag:pw@db:5432/headrace"),
        ("postgres://rag@db", "postgresql://rag@db"),
        ("postgresql://", None),
        ("postgresql:///headrace?host=/run/postgresql&user=rag", None),
        ("postgresql://rag:pw@[::1]:5432/headrace", None),
        ("postgresql://rag:pw@one:5432,two:5433/headrace?target_session_attrs=any", None),
        ("postgresql://db/headrace?user=rag&password=pw&sslmode=verify-full", None),
        ("postgresql://jos%C3%A9:p%40%25%20%2F@db/headrace", None),
    ],
)
def test_a_url_that_libpq_reads_is_taken_and_so_is_sqlalchemys_name_of_the_driver(url: str, taken: str | None) -> None:
    assert postgres_url(url) == taken or url


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://rag:50%{SECRET}@db/headrace",
        f"postgresql://rag:{SECRET} x@db/headrace",
        f"postgresql://rag:{SECRET}@x@db/headrace",
        f"postgresql://rag:{SECRET}/x@db/headrace",
        f"postgresql://rag:1/{SECRET}@db/headrace",
        f"postgresql://rag:x#{SECRET}@db/headrace",
        f"postgresql://rag:x?{SECRET}@db/headrace",
        f"postgresql://rag:{SECRET}]@db/headrace",
        f"postgresql://rag:{SECRET}\0@db/headrace",
        f"postgresql://rag:{SECRET}\n@db/headrace",
        f"postgresql://rag:{SECRET}\ud800@db/headrace",
        f"postgresql://db/headrace?passwd={SECRET}",
        f"postgresql://db:{SECRET}/headrace",
        f"postgresql+psycopg2://rag:{SECRET}@db/headrace",
        f"mysql://rag:{SECRET}@db/headrace",
        f"host=db user=rag password={SECRET}",
        f"{SECRET}",
        "",
    ],
)
@pytest.mark.parametrize("said", ["index", "configuration"])
def test_another_url_is_refused_with_the_keys_name_and_no_part_of_it(url: str, said: str) -> None:
    error = refusal(READERS[said], url)
    assert error is not None
    assert error.reason == "bad-configuration"
    assert "reader_url: " in error.detail
    assert "postgresql://" in error.detail or "%40" in error.detail or not url
    assert SECRET not in text_of(error)


def index(url: str) -> None:
    Index(url, "acme", model="/there/is/no/such/model")


def configuration(url: str) -> None:
    load(postgres=dict.fromkeys(("owner_url", "pipeline_url", "reader_url", "dagster_url"), url))


READERS: dict[str, Callable[[str], None]] = {"index": index, "configuration": configuration}


def refusal(read: Callable[[str], None], url: str) -> ConfigurationError | None:
    try:
        read(url)
    except ConfigurationError as error:
        return error
    return None


def text_of(error: BaseException) -> str:
    """What a traceback shows, with the errors that it comes from."""
    return f"{error!r} {''.join(traceback.format_exception(error))}"


PASSWORDS = st.builds(lambda before, after: f"{before}{SECRET}{after}", st.text(HARD, max_size=4), st.text(HARD + "0f", max_size=4))
URLS = st.builds(
    "{}{}:{}@{}{}{}".format,
    st.sampled_from(["postgresql://", "postgresql+psycopg://", "postgres://", "postgresql+asyncpg://", "bolt://", "//", ""]),
    st.sampled_from(["rag", "", "r%40g", "r%g", "r g"]),
    PASSWORDS,
    st.sampled_from(["db", "db:5432", "[::1]:5432", "one,two", "", "db:x"]),
    st.sampled_from(["/headrace", "", "/a/b"]),
    st.sampled_from(["", "?sslmode=require", "?x=y", "#x"]),
)


@given(URLS)
@example(f"postgresql://rag:1/{SECRET}@db/headrace")
@example(f"postgresql://rag:{SECRET}@x@db/headrace")
def test_no_message_and_no_part_that_a_message_shows_has_the_password(url: str) -> None:
    """A URL is refused without a part of it, or read as it was meant: libpq's errors show the user, the host, the port and the database."""
    for read in READERS.values():
        error = refusal(read, url)
        assert error is None or SECRET not in text_of(error)
    try:
        shown = [str(value) for name, value in conninfo_to_dict(postgres_url(url)).items() if name != "password"]
    except ValueError as error:
        shown = [text_of(error)]
    assert not any(SECRET in text for text in shown)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_password_that_is_percent_encoded_is_taken_as_it_is(password: str) -> None:
    url = f"postgresql://rag:{quote(password, safe='')}@db/headrace"
    assert conninfo_to_dict(postgres_url(url))["password"] == password


def test_the_settings_show_no_url() -> None:
    urls = dict.fromkeys(("owner_url", "pipeline_url", "reader_url", "dagster_url"), f"postgresql+psycopg://rag:{SECRET}@db/headrace")
    settings = Settings.model_validate({"postgres": urls})
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()}"
    assert settings.postgres.reader_url is not None
    assert settings.postgres.reader_url.get_secret_value() == f"postgresql://rag:{SECRET}@db/headrace"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://rag:{SECRET}@db/headrace", "db"),
        (f"postgresql://rag:{SECRET}@[::1]:5433/headrace", "::1:5433"),
        (f"postgresql://rag:{SECRET}@one:5432,two:5433/headrace", "one:5432,two:5433"),
        (f"postgresql://rag:{SECRET}@one,two/headrace?port=5433", "one:5433,two:5433"),
        (f"postgresql:///headrace?host=/run/postgresql&password={SECRET}", "/run/postgresql"),
        ("postgresql://", ""),
    ],
)
def test_the_address_of_a_url_is_its_hosts_and_ports(url: str, shown: str) -> None:
    assert address(postgres_url(url)) == shown


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        ('connection failed: FATAL:  password authentication failed for user "rag"', True),
        ("connection failed: fe_sendauth: no password supplied", True),
        ('connection failed: FATAL:  role "rag" does not exist', True),
        ('connection failed: FATAL:  database "headrac" does not exist', True),
        ('connection failed: FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "rag"', True),
        ("connection failed: Connection refused", False),
        ("connection failed: FATAL:  the database system is starting up", False),
        ("connection failed: FATAL:  sorry, too many clients already", False),
        ("failed to resolve host 'db': [Errno -2] Name or service not known", False),
    ],
)
def test_a_refused_login_is_told_from_a_server_that_does_not_answer(message: str, refused: bool) -> None:
    assert login_is_refused(psycopg.OperationalError(message)) == refused
