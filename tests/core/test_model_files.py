"""Where a model's files are found, and which of them count."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from core.model_files import SPACY, model_files, model_folders


def marked(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / SPACY).touch()
    return folder


def test_a_folder_is_the_models_own_or_has_a_versioned_one_inside(tmp_path: Path) -> None:
    own = marked(tmp_path / "own")
    inner = marked(tmp_path / "package" / "name-1.0")
    marked(tmp_path / "package" / "docs")
    assert list(model_folders(str(own), [SPACY])) == [own]
    assert list(model_folders(str(inner.parent), [SPACY])) == [inner]


def test_a_package_is_found_by_its_name_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = marked(tmp_path / "headrace_test_model" / "model-1.0")
    (folder.parent / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(model_folders("headrace_test_model", [SPACY])) == [folder]


@pytest.mark.parametrize("model", ["no_such_model", "/no/such/folder", "os", "../x", ""])
def test_what_is_no_model_has_no_folder(model: str) -> None:
    assert list(model_folders(model, [SPACY])) == []


def test_files_are_read_in_the_order_of_their_paths_and_again_after_a_change(tmp_path: Path) -> None:
    for name in ("b/two", "a", "b/__pycache__/x", "c.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(name)
    assert [(file.name, file.size, file.sha256) for file in model_files(tmp_path)] == [
        ("a", 1, sha256(b"a").digest()),
        ("b/two", 5, sha256(b"b/two").digest()),
    ]
    (tmp_path / "a").write_text("changed")
    assert [(file.name, file.sha256) for file in model_files(tmp_path, ["a*"])] == [("a", sha256(b"changed").digest())]
