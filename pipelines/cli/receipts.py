"""Receipt files: written by an erasure, read and verified later. The file is readable by its owner only, and never overwrites another."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from core.errors import HeadraceError
from pipelines.cli.exit_codes import ANSWER_IS_NO
from pipelines.cli.installation import opened
from pipelines.cli.output import builtins, print_json, print_record


@contextmanager
def reserved(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Create the file before anything is erased; yields the function that writes the receipt. If the block raises, the file is deleted.

    Raises HeadraceError `receipt-exists`, `receipt-not-writable`.
    """
    with os.fdopen(_create(path), "w", encoding="utf-8") as file:

        def write(receipt: Mapping[str, Any]) -> None:
            file.write(json.dumps(receipt, indent=2) + "\n")

        try:
            yield write
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise HeadraceError(f"{path} exists already", reason="receipt-exists", remedy="Name a file that does not exist.") from None
    except OSError as error:
        raise HeadraceError(
            f"{path} cannot be written: {error.strerror}", reason="receipt-not-writable", remedy="Name a file in a writable folder."
        ) from None


def read(path: Path) -> dict[str, Any]:
    """The receipt in a file. Raises HeadraceError `bad-receipt` if it is no JSON object."""
    from pipelines.governance.receipts import bad_receipt

    try:
        receipt = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise bad_receipt() from None
    if not isinstance(receipt, dict):
        raise bad_receipt()
    return receipt


def verify(path: Path, *, as_json: bool) -> None:
    """Verify a receipt's signature, its audit entry and the stores. Exits with 1 if something does not hold."""
    from pipelines.governance import receipts

    receipt = read(path)
    with opened() as headrace:
        verification = builtins(receipts.verify(headrace, receipt))
    if as_json:
        print_json(verification)
    else:
        remaining = {store: count for store, count in verification["stores"].items() if count}
        print_record({**verification, "stores": remaining or "nothing remains"}, as_json=False, title=f"Receipt {path}")
    if not verification["verified"]:
        raise typer.Exit(ANSWER_IS_NO)
