"""A server of this installation that runs already: it answers in the time that loading a model would only begin.

Only what is quick to import is imported here. Whatever is wrong with the server, the command does its work by itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from http.client import HTTPResponse

    from retrieval.server.local import RunningServer

CONNECT_S = 0.5
ANSWER_S = 60


def searched(tenant: str, principals: Sequence[str], asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """The answer of `/v1/search` for these principals of the tenant; None if no server of this configuration answers.

    Raises HeadraceError if the server refuses what is asked.
    """
    server = _announced()
    if server is None:
        return None
    try:
        status, body = _asked(server, tenant, principals, asked)
        answer: dict[str, Any] = json.loads(body)
    except (OSError, ValueError):
        return None
    if status == 200:
        return answer
    if 400 <= status < 500 and status not in (401, 408, 429):
        raise _refused(answer)
    return None


def _announced() -> RunningServer | None:
    from core.configuration_file import configuration_digest, data_dir
    from retrieval.server.local import read

    try:
        found = read(data_dir() / "run" / "serve.json")
        return found if found and found.configuration == configuration_digest() else None
    except (OSError, ValueError):
        return None


def _asked(server: RunningServer, tenant: str, principals: Sequence[str], asked: Mapping[str, Any]) -> tuple[int, bytes]:
    """Status and body. Raises OSError, and ValueError for what is no answer of HTTP."""
    from http.client import HTTPConnection, HTTPException

    from retrieval.server.local import signed

    address = urlsplit(server.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=CONNECT_S)
    try:
        connection.connect()
        connection.sock.settimeout(ANSWER_S)
        headers = {"authorization": f"Bearer {signed(server.key, tenant, tuple(principals))}", "content-type": "application/json"}
        connection.request("POST", "/v1/search", json.dumps(asked, default=_as_text), headers)
        response: HTTPResponse = connection.getresponse()
        return response.status, response.read()
    except HTTPException as error:
        raise ValueError(type(error).__name__) from None
    finally:
        connection.close()


def _as_text(time: datetime) -> str:
    return time.isoformat()


def _refused(answer: Mapping[str, str]) -> Exception:
    from core.errors import HeadraceError, TenantError

    kind = TenantError if answer["reason"] == TenantError.reason else HeadraceError
    return kind(answer["message"], reason=answer["reason"], remedy=answer["remedy"])
