"""What every command has in common: text that it takes is UTF-8."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperCommand

from core.texts import is_unicode

_TEXT = "text"
"""Click's name of a parameter's type. That of a path is another."""


class Command(TyperCommand):
    """Refuses arguments and options that are text and not UTF-8, as a wrong call. A path may be of any bytes."""

    def invoke(self, ctx: Any) -> Any:
        for parameter in self.params:
            if parameter.type.name == _TEXT and not all(map(is_unicode, _texts(ctx.params.get(parameter.name or "")))):
                raise typer.BadParameter("not UTF-8", ctx=ctx, param=parameter)
        return super().invoke(ctx)


def _texts(value: object) -> Iterable[str]:
    values = value if isinstance(value, list | tuple) else (value,)
    return (one for one in values if isinstance(one, str))
