"""What can go wrong. `reason` is a stable code of the server's, or one of those below."""

from __future__ import annotations

from typing import ClassVar


class HeadraceError(Exception):
    """The root of every error of this package. `remedy` says what to do, and may be empty; no message has a part of the credential."""

    default: ClassVar[str] = "error"

    def __init__(self, message: str, *, reason: str = "", remedy: str = "", status: int | None = None) -> None:
        super().__init__(f"{message}. {remedy}" if remedy else message)
        self.reason, self.message, self.remedy, self.status = reason or self.default, message, remedy, status


class Refused(HeadraceError):
    """The server refuses the request: the question cannot be meant, or the credential is not valid. Asking again does not help."""

    default = "refused"


class RateLimited(HeadraceError):
    """Too many requests for this credential. `wait_s`: until the server takes one again."""

    default = "rate-limited"

    def __init__(self, message: str, *, wait_s: float = 1.0, reason: str = "", remedy: str = "", status: int | None = None) -> None:
        super().__init__(message, reason=reason, remedy=remedy, status=status)
        self.wait_s = wait_s


class Unavailable(HeadraceError):
    """The server, or a server that it needs, does not answer. Asking again later may help."""

    default = "unavailable"
