import os
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.cli.sources import find_sources, is_own_output, output_stem
from synergy.errors import UserError
from synergy.shards import Shard

PARTS = st.text(st.sampled_from("ab_-. ~%"), min_size=1, max_size=4) | st.sampled_from(
    ["..", "root", "up", "root_", "up__", "x" * 250 + "1", "x" * 250 + "2"]
)
NAMES = st.tuples(st.sampled_from(["", "/"]), st.lists(PARTS.filter(lambda part: part != "."), min_size=1, max_size=3))


@given(st.lists(NAMES, min_size=2, max_size=2))
def test_different_paths_have_different_outputs_inside_the_folder(names):
    first, second = (root + "/".join(parts) for root, parts in names)
    stems = [output_stem(name) for name in (first, second)]
    assert (stems[0] == stems[1]) == (first == second)
    for stem in stems:
        assert not Path(stem).is_absolute()
        assert ".." not in stem.split("/")
        assert max(len(part.encode()) for part in stem.split("/")) < 230


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("C:\\data\\a.jpg", "root/C/data/a.jpg"),
        ("D:\\data\\a.jpg", "root/D/data/a.jpg"),
        ("\\\\server\\share\\a.jpg", "root/server/share/a.jpg"),
        ("\\data\\a.jpg", "root/data/a.jpg"),
        ("..\\root\\a.jpg", "up/root_/a.jpg"),
    ],
)
def test_drives_of_windows_are_kept_apart(monkeypatch, name, expected):
    monkeypatch.setattr("synergy.cli.sources.PurePath", PureWindowsPath)
    assert PureWindowsPath(output_stem(name)).as_posix() == expected


def test_names_have_forward_slashes_on_windows_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("synergy.cli.sources.PurePath", PureWindowsPath)
    Path("photos\\a.jpg").write_bytes(b"x")
    (source,) = find_sources(["photos\\a.jpg"], pytest.fail, pytest.fail)
    assert (source.name, source.location) == ("photos/a.jpg", "photos\\a.jpg")


@pytest.mark.parametrize(
    "ending", ["_overlay.jpg", "_pncc.png", "_pose.mp4", "_0.png", "_000012_1.png", "_overlay.mp4"]
)
@pytest.mark.parametrize("name", ["a.jpg", "photos/b c.PNG", "stdin", "clip.mp4", "x" * 250 + ".jpeg", "caf\\xe9.tif"])
def test_our_own_files_are_known_by_their_name(name, ending):
    assert is_own_output(Path(output_stem(name) + ending).name)


@pytest.mark.parametrize(
    "name",
    [
        *("a.jpg", "a_overlay.jpg", "a_0.jpg", "stdin.jpg", "my_mesh.jpg", "a.jpg.png", "b.c_0.png"),
        *("clip.mp4_0001.jpg", "a.png_1.webp", "a.jpg_0.mp4"),
    ],
)
def test_other_files_are_not(name):
    assert not is_own_output(name)


def test_pipes_broken_links_and_loops_do_not_stop_a_scan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to("nothing.jpg")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "up").symlink_to("..")
    (tmp_path / "folder.jpg").mkdir()
    problems = []
    names = [source.name for source in find_sources(["."], problems.append, pytest.fail)]
    assert names == ["a.jpg", "gone.jpg", "pipe.jpg", "self.jpg"]
    assert problems == []
    (pipe,) = [source for source in find_sources(["."], pytest.fail, pytest.fail) if source.name == "pipe.jpg"]
    with pytest.raises(UserError, match=r"^pipe\.jpg: not a regular file$"):
        pipe.version()


def test_a_file_is_listed_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.jpg").write_bytes(b"x")
    (source,) = find_sources(["d", "d/a.jpg", "./d/a.jpg"], pytest.fail, pytest.fail)
    assert source.name == "d/a.jpg"


def test_two_names_that_are_the_same_when_escaped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (b"caf\xe9.jpg", rb"caf\xe9.jpg"):
        with open(name, "wb") as file:
            file.write(b"x")
    problems = []
    assert len(find_sources(["."], problems.append, pytest.fail)) == 1
    assert problems == [r"caf\xe9.jpg: another input has the same name"]


def test_the_number_of_left_out_results_is_said(tmp_path):
    for name in ("a.jpg", "a.jpg_0.png", "a.jpg_mesh.jpg", "a.jpg_0.obj"):
        (tmp_path / name).write_bytes(b"x")
    notes = []
    assert len(find_sources([str(tmp_path)], pytest.fail, notes.append)) == 1
    assert notes == [f"{tmp_path}: 2 file(s) with names of our results, like a.jpg_overlay.jpg, were left out"]


@pytest.mark.parametrize("folder", [".", "photos", ".photos"])
def test_hidden_files_and_folders_in_a_folder_are_left_out(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", ".b.jpg", "._a.jpg", ".thumbnails/a.jpg", "sub/.c.jpg", "sub/d..jpg"):
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    sources = find_sources([folder], pytest.fail, pytest.fail)
    assert [Path(source.location) for source in sources] == [Path(folder, "a.jpg"), Path(folder, "sub/d..jpg")]


def test_an_empty_input_is_not_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match=r"^one of the inputs is empty; the working folder is called \.$"):
        find_sources(["a.jpg", ""], pytest.fail, pytest.fail)


def test_nothing_to_do_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no images or videos"):
        find_sources([str(tmp_path)], pytest.fail, pytest.fail)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "byte order mark"])
def test_a_list_gives_its_paths_as_they_are_written(tmp_path, monkeypatch, mark):
    monkeypatch.chdir(tmp_path)
    odd = os.fsdecode(b"caf\xe9.jpg")
    paths = b"b.jpg\r\n\n./a b.png\n  \n" + os.fsencode(odd) + b"\ngone.jpg\nx.tar\nb.jpg"
    (tmp_path / "list.txt").write_bytes(mark + paths)
    found = find_sources(["list.txt"], pytest.fail, pytest.fail)
    assert [source.name for source in found] == ["b.jpg", "a b.png", "caf\\xe9.jpg", "gone.jpg", "x.tar"]
    assert [source.is_archive for source in found] == [False] * 4 + [True]
    assert found[2].content == Path(odd)


def test_blanks_around_a_path_in_a_list_are_left_out_unless_they_are_in_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.jpg ").write_bytes(b"x")
    (tmp_path / "list.txt").write_text("  a b.jpg \nb.jpg \n\tgone.jpg\t\n")
    found = find_sources(["list.txt"], pytest.fail, pytest.fail)
    assert [source.location for source in found] == ["a b.jpg", "b.jpg ", "gone.jpg"]


@pytest.mark.parametrize("content", [b"", b"\n \n\n"])
def test_an_empty_list_is_one_line(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"list\.txt: the list is empty, expected one path per line$"):
        find_sources([str(tmp_path / "list.txt")], pytest.fail, pytest.fail)


def test_shards_divide_files_and_keep_archives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    for i in range(40):
        (tmp_path / "d" / f"{i}.jpg").write_bytes(b"x")
    (tmp_path / "x.tar").write_bytes(b"x")
    parts = [[s.name for s in find_sources(["d", "x.tar"], pytest.fail, pytest.fail, Shard(i, 3))] for i in (1, 2, 3)]
    assert all(part[-1] == "x.tar" and 5 < len(part) < 25 for part in parts)
    joined = [name for part in parts for name in part[:-1]]
    assert sorted(joined) == sorted(s.name for s in find_sources(["d"], pytest.fail, pytest.fail))


def test_a_folder_with_archives_only_says_how_they_are_read(tmp_path):
    (tmp_path / "faces-0.tar").write_bytes(b"x")
    with pytest.raises(UserError, match=r"archives are read if they are named, as in .*faces-0\.tar$"):
        find_sources([str(tmp_path)], pytest.fail, pytest.fail)
