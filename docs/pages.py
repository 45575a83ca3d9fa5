"""A hook of `properdocs build`: the pages of the site are those of the repository, at the same paths, so that one link works in both.

No page's text belongs here. `properdocs.yml` has the order of the pages.
"""

from __future__ import annotations

from pathlib import Path

from properdocs.config.defaults import ProperDocsConfig
from properdocs.structure.files import File, Files

LINKED = ("events/schema/document-event.v1.2.json",)
"""Files that pages link to and that are no pages."""


def on_files(files: Files, config: ProperDocsConfig) -> Files:  # noqa: ARG001
    root = Path(config.config_file_path).parent
    pages = [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / path for path in LINKED)]
    return Files([File.generated(config, str(path.relative_to(root)), abs_src_path=str(path)) for path in sorted(pages)])
