"""URLs of Postgres: which are accepted, and the error for others. A URL contains a password, so no message quotes any part of it."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://")
"""Postgres' own, and SQLAlchemy's name of the driver that is used here."""

_PORTS = re.compile(r"[0-9]*(,[0-9]*)*")
_REFUSED = re.compile(
    r"authentication failed for|no password supplied|does not exist"
    r"|not permitted to log in|no pg_hba\.conf entry|permission denied for database"
)


def postgres_url(text: str) -> str:
    """The URL as libpq takes it. Raises ValueError, whose message has no part of the URL, if libpq and RFC 3986 do not read the same in it.

    They differ where a password contains `@`, `/`, `#` and the like as they are: a part of it would pass for a host or a database, which
    error messages and logs show.
    """
    scheme = next((scheme for scheme in SCHEMES if text.startswith(scheme)), None)
    if scheme is None:
        raise ValueError("must begin with postgresql:// or postgresql+psycopg://")
    url = "postgresql://" + text.removeprefix(scheme)
    try:
        unambiguous = _is_unambiguous(url)
    except (psycopg.Error, ValueError):
        unambiguous = False
    if not unambiguous:
        raise ValueError(
            "is no URL that Postgres can read: write other characters than letters and digits of the user and the password"
            " as percent and two hexadecimal digits, such as %40 for @, %25 for % and %20 for a space"
        )
    return url


def _is_unambiguous(url: str) -> bool:
    found, parts = conninfo_to_dict(url), urlsplit(url)
    login = {name: unquote(value, errors="strict") for name, value in (("user", parts.username), ("password", parts.password)) if value}
    return (
        url.isprintable()
        and "@" not in f"{parts.path}{parts.query}{found.get('host', '')}"
        and not parts.fragment
        and _PORTS.fullmatch(str(found.get("port", ""))) is not None
        and all(found.get(name) == value for name, value in login.items())
        and (parts.password is not None or "password" not in found or "password=" in parts.query)
    )


def address(url: str) -> str:
    """The hosts and ports of a URL, which may be shown."""
    found = conninfo_to_dict(url)
    hosts, ports = (str(found.get(name, "")).split(",") for name in ("host", "port"))
    # one port may be that of every host
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return ",".join(f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False))


def login_is_refused(error: psycopg.OperationalError) -> bool:
    """Whether the server answered and refused the login or the database: waiting does not help.

    libpq has no code for it, only the server's message: in another language than English it passes for a server that does not answer.
    """
    return _REFUSED.search(str(error)) is not None
