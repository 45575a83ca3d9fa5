"""`python -m samples.make [FOLDER]`: write the binary samples from `sources/` to `documents/` (or FOLDER), reproducibly, byte for byte.

`sources/<tenant>/<name>.<format>.md` becomes `<tenant>/<name>.<format>`. The samples in text formats are hand-written and have no source.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from samples import DOCUMENTS, FOLDER
from samples.books import epub, pdf
from samples.markup import Page, parse
from samples.office import docx, pptx, xlsx

SOURCES = FOLDER / "sources"
# truncated, like an interrupted copy: a ZIP archive without its central directory
CORRUPT = "acme/scans/delivery-note.docx"

_WRITERS: Mapping[str, Callable[[Page], bytes]] = {".docx": docx, ".pptx": pptx, ".xlsx": xlsx, ".pdf": pdf, ".epub": epub}


def write_all(folder: Path) -> list[Path]:
    """Write every binary sample below `folder`. Returns their paths."""
    return [_write(source, folder) for source in sorted(SOURCES.rglob("*.md"))]


def _write(source: Path, folder: Path) -> Path:
    name = source.relative_to(SOURCES).with_suffix("")
    content = _WRITERS[name.suffix](parse(source.read_text(encoding="utf-8")))
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content[: len(content) // 3] if name.as_posix() == CORRUPT else content)
    return target


if __name__ == "__main__":
    written = write_all(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENTS)
    sys.stdout.write("".join(f"{path}\n" for path in written))
