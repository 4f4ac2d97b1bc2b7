import hashlib
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest

from synergy.data.filetree import FileTree
from synergy.errors import UserError

CONTENT = {"a/one.txt": b"1", "a/two.JPG": b"22", "b.txt": b"333"}
LITTER = {"__MACOSX/a/._one.txt": b"x", ".DS_Store": b"x"}


@pytest.fixture(params=["folder", "tar", "tar.gz", "zip"])
def tree_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    files = {**CONTENT, **LITTER}
    path = tmp_path / f"set.{request.param}"
    if request.param == "folder":
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    elif request.param == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz" if request.param == "tar.gz" else "w") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def test_folder_tar_and_zip_read_alike(tree_path: Path) -> None:
    tree = FileTree(tree_path)
    assert tree.names == ("a/one.txt", "a/two.JPG", "b.txt")
    assert {name: tree.read(name) for name in tree.names} == CONTENT
    assert tree.with_suffix(".jpg") == ["a/two.JPG"]
    assert "b.txt" in tree
    assert "c.txt" not in tree
    with pytest.raises(OSError, match=r"c\.txt"):
        tree.read("c.txt")


def add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def add_hard_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.LNKTYPE, target
    tar.addfile(member)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_begin_with_a_point_and_a_slash(tmp_path: Path, kind: str) -> None:
    """Of `tar -cf set.tar .`, for example."""
    path = tmp_path / f"set.{kind}"
    if kind == "zip":
        zip_of(path, "./a/one.txt", b"1")
    else:
        with tarfile.open(path, "w") as tar:
            add_file(tar, "./a/one.txt", b"1")
    for tree in (FileTree(path), pickle.loads(pickle.dumps(FileTree(path)))):
        assert tree.names == ("a/one.txt",)
        assert tree.read("a/one.txt") == b"1"


def test_hard_links_have_the_content_of_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as tar:
        add_file(tar, "./a.txt", b"content")
        add_hard_link(tar, "./b.txt", "./a.txt")
        add_hard_link(tar, "./c.txt", "./b.txt")
        add_hard_link(tar, "./d.txt", "./gone.txt")
    for tree in (FileTree(path), pickle.loads(pickle.dumps(FileTree(path)))):
        assert tree.names == ("a.txt", "b.txt", "c.txt", "d.txt")
        assert tree.read("b.txt") == tree.read("c.txt") == b"content"
        with pytest.raises(OSError, match=r"^d\.txt: not in "):
            tree.read("d.txt")
    monkeypatch.setattr("synergy.archives._MAX_BYTES", 5)
    with pytest.raises(OSError, match=r"^c\.txt: 0\.0 GB unpacked"):
        FileTree(path).read("c.txt")


def test_digest_depends_on_names_and_contents_alone(tree_path: Path) -> None:
    tree = FileTree(tree_path)
    expected = hashlib.sha256(b"a/one.txt\x001\x001" + b"a/two.JPG\x002\x0022" + b"b.txt\x003\x00333").hexdigest()
    assert tree.digest(list(tree.names)) == expected[:16]
    assert tree.digest(["b.txt"]) != tree.digest(["a/one.txt"])


def test_a_pickled_tree_reads_on(tree_path: Path) -> None:
    tree = pickle.loads(pickle.dumps(FileTree(tree_path)))
    assert tree.read("b.txt") == b"333"


def test_what_is_no_tree_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        FileTree(tmp_path / "none")
    (tmp_path / "text.tar").write_text("no archive")
    with pytest.raises(UserError, match="neither a folder, nor a complete tar or zip"):
        FileTree(tmp_path / "text.tar")


def test_a_truncated_tar_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("a", "b"):
            member = tarfile.TarInfo(name)
            member.size = 4000
            tar.addfile(member, io.BytesIO(bytes(4000)))
    path.write_bytes(path.read_bytes()[:7000])
    with pytest.raises((UserError, OSError), match=r"complete tar|damaged"):
        FileTree(path).read("b")


def test_a_damaged_zip_member_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "abcdefgh" * 40)
    path.write_bytes(path.read_bytes().replace(b"abcdefgh", b"abXdefgh", 1))
    with pytest.raises(OSError, match=r"a\.txt: damaged"):
        FileTree(path).read("a.txt")


def zip_of(path: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def test_a_bomb_in_an_archive_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zip_of(tmp_path / "bomb.zip", "a.jpg", b"\0" * 100_000)
    content = bytearray(path.read_bytes())
    # The unpacked size in the central directory, 24 bytes after its signature.
    start = content.index(b"PK\1\2") + 24
    content[start : start + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"a\.jpg: 2\.1 GB unpacked, larger than any file of a data set"):
        FileTree(path).read("a.jpg")
    monkeypatch.setattr("synergy.archives._MAX_BYTES", 10_000)
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("a.jpg")
        member.size = 100_000
        tar.addfile(member, io.BytesIO(b"\0" * member.size))
    with pytest.raises(OSError, match=r"a\.jpg: 0\.0 GB unpacked"):
        FileTree(tmp_path / "bomb.tar.gz").read("a.jpg")


def test_names_with_line_breaks_give_errors_of_one_line(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", "a\nb.jpg", b"0123456789")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x03\x04", b"\x03\x05", 1))
    with pytest.raises(OSError, match=r"^a\\nb\.jpg: damaged in [^\n]*$"):
        FileTree(path).read("a\nb.jpg")


@pytest.mark.parametrize("compression", [99, 9], ids=["unknown", "deflate64"])
def test_compression_that_python_lacks_is_one_line(tmp_path: Path, compression: int) -> None:
    path = zip_of(tmp_path / "a.zip", "a.jpg", b"0123456789")
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        content[content.index(signature) + offset] = compression
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"^a\.jpg: damaged in .*not supported"):
        FileTree(path).read("a.jpg")
