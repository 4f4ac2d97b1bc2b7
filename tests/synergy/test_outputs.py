from pathlib import Path

import pytest

from synergy.errors import UserError
from synergy.outputs import require_writable_file, require_writable_folder


def test_a_folder_is_created_and_left_empty(tmp_path):
    require_writable_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_checking_a_file_changes_nothing(tmp_path):
    require_writable_file(tmp_path / "new.json")
    assert not (tmp_path / "new.json").exists()
    (tmp_path / "old.json").write_text("kept")
    require_writable_file(tmp_path / "old.json")
    assert (tmp_path / "old.json").read_text() == "kept"


@pytest.mark.parametrize("place", ["file", "file/inside", "/proc/nothing/here"])
def test_folders_that_cannot_be_written_to(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to") as caught:
        require_writable_folder(tmp_path / place)
    assert "\n" not in str(caught.value)


def test_standard_output_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^-: results are files, which cannot go to standard output; give a folder$"):
        require_writable_folder(Path("-"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("place", "message"),
    [("gone/a.json", "there is no folder"), ("file/a.json", "there is no folder"), ("folder", "cannot be written to")],
)
def test_files_that_cannot_be_written(tmp_path, place, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=message):
        require_writable_file(tmp_path / place)
