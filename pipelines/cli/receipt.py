"""The file that an erasure leaves: for its owner alone, never over another one, and there only once the erasure was done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import HeadraceError


@contextmanager
def reserved(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Make the file before anything is erased; gives what writes the receipt into it. Where nothing was written, the file goes again.

    Raises HeadraceError: `receipt-exists`, `receipt-not-writable`.
    """
    with os.fdopen(_made(path), "w", encoding="utf-8") as file:

        def write(receipt: Mapping[str, Any]) -> None:
            file.write(json.dumps(receipt, indent=2) + "\n")

        try:
            yield write
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _made(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise HeadraceError(f"{path} is there already", reason="receipt-exists", remedy="Name a file that is not there.") from None
    except OSError as error:
        raise HeadraceError(
            f"{path} cannot be written: {error.strerror}", reason="receipt-not-writable", remedy="Name a file in a folder of yours."
        ) from None
