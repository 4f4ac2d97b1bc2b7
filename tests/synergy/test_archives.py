import io
import tarfile
import zipfile

import pytest

from synergy.archives import images_in_archive
from synergy.errors import UserError

FILES = {"a.jpg": b"one", "sub/b.PNG": b"two" * 400, "c.webp": b""}
OTHERS = {"a.json": b"{}", ".hidden.jpg": b"x", "__MACOSX/a.jpg": b"x", "sub/.git/a.jpg": b"x"}


def write_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def write_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.TGZ", "x.tar.bz2", "x.tar.xz", "x.zip"])
def test_images_are_read_in_order_and_other_files_are_not(tmp_path, name):
    files = OTHERS | FILES
    kind = name.lower().rpartition(".")[2].replace("tgz", "gz")
    path = tmp_path / name
    if kind == "zip":
        write_zip(path, files)
    else:
        write_tar(path, files, "w" if kind == "tar" else f"w:{kind}")
    assert list(images_in_archive(path)) == list(FILES.items())


def test_a_webdataset_shard(tmp_path):
    wds = pytest.importorskip("webdataset")
    path = tmp_path / "faces-000000.tar"
    with wds.TarWriter(str(path)) as writer:
        for i in range(3):
            writer.write({"__key__": f"{i:06d}", "jpg": bytes([i]), "json": {"i": i}})
    assert list(images_in_archive(path)) == [(f"{i:06d}.jpg", bytes([i])) for i in range(3)]


def read_in_part(path):
    """What can be read, and the error or None."""
    found = []
    try:
        for image in images_in_archive(path):
            found.append(image)  # noqa: PERF402 - kept when the next one fails
    except UserError as error:
        return found, str(error)
    return found, None


def test_a_tar_that_is_cut_off_anywhere_gives_what_was_before_and_an_error(tmp_path):
    files = {f"{i}.jpg": bytes([i]) * (700 * i) for i in range(4)}
    data = write_tar(tmp_path / "x.tar", files).read_bytes()
    end = sum(512 + (len(content) + 511) // 512 * 512 for content in files.values())
    cuts = [0, 1, 511, 512, 700, *range(1024, end + 511, 256), end - 1, end, end + 1, end + 511]
    for cut in cuts:
        path = tmp_path / "cut.tar"
        path.write_bytes(data[:cut])
        found, error = read_in_part(path)
        assert found == list(files.items())[: len(found)]
        assert error is not None, cut
        assert error.startswith(f"{path}: cut off or damaged ")
        assert "\n" not in error
    assert read_in_part(tmp_path / "x.tar") == (list(files.items()), None)


def test_a_compressed_tar_that_is_cut_off(tmp_path):
    files = {f"{i}.jpg": __import__("random").Random(i).randbytes(50_000) for i in range(4)}
    data = write_tar(tmp_path / "x.tar.gz", files, "w:gz").read_bytes()
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(data[: len(data) * 6 // 10])
    found, error = read_in_part(path)
    assert found == list(files.items())[:2]
    assert "cut off or damaged after 2 images" in error


def test_a_damaged_file_in_a_zip_leaves_the_others(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a.jpg": b"a" * 5000, "b.jpg": b"b" * 5000})
    data = bytearray(path.read_bytes())
    data[45] ^= 255
    path.write_bytes(data)
    found, error = read_in_part(path)
    assert [name for name, _ in found] == ["a.jpg", "b.jpg"]
    assert found[1] == ("b.jpg", b"b" * 5000)
    assert found[0][1] == b""
    assert error is None


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.zip", "x.parquet"])
@pytest.mark.parametrize("content", [b"", b"no archive" * 100])
def test_what_is_no_archive_is_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    found, error = read_in_part(path)
    assert found == []
    assert error.startswith(f"{path}: cut off or damaged at its beginning (")
    assert "\n" not in error


def test_of_files_with_one_name_the_first_is_read(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for content in (b"1", b"22"):
            entry = tarfile.TarInfo("./a.jpg")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    assert list(images_in_archive(tmp_path / "x.tar")) == [("a.jpg", b"1")]


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_names_that_unpack_to_one_file_are_one_name(tmp_path, write):
    files = {"/a.jpg": b"1", "a.jpg": b"2", "./a.jpg": b"3", "/sub//b.jpg": b"4", "./c.jpg": b"5", "../a.jpg": b"6"}
    path = write(tmp_path / ("x.zip" if write is write_zip else "x.tar"), files)
    assert list(images_in_archive(path)) == [("a.jpg", b"1"), ("sub/b.jpg", b"4"), ("c.jpg", b"5"), ("../a.jpg", b"6")]


def test_images_that_are_hard_links_have_no_content(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, target in (("a.jpg", ""), ("b.jpg", "a.jpg"), ("b.json", "a.jpg")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.LNKTYPE if target else tarfile.REGTYPE, target
            entry.size = 0 if target else 3
            archive.addfile(entry, io.BytesIO(b"one"))
    assert list(images_in_archive(tmp_path / "x.tar")) == [("a.jpg", b"one"), ("b.jpg", b"")]


def write_parquet(path, columns):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table(columns), path, row_group_size=7)
    return path


@pytest.mark.parametrize("is_struct", [False, True], ids=["bytes", "Hugging Face"])
def test_rows_of_a_parquet_file(tmp_path, is_struct):
    contents = [bytes([i]) for i in range(40)] + [None]
    column = [{"bytes": content, "path": "x"} for content in contents] if is_struct else contents
    path = write_parquet(tmp_path / "x.parquet", {"label": list(range(41)), "image": column})
    expected = [(f"{i:09d}", content or b"") for i, content in enumerate(contents)]
    assert list(images_in_archive(path)) == expected


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [1], "text": ["a"]}, "found none (columns: label, text)"),
        ({"a": [b"1"], "b": [b"2"]}, "found a, b (columns: a, b)"),
    ],
)
def test_a_parquet_file_without_one_column_of_images(tmp_path, columns, message):
    path = write_parquet(tmp_path / "x.parquet", columns)
    with pytest.raises(UserError) as caught:
        list(images_in_archive(path))
    assert str(caught.value).endswith(f"expected one column with the bytes of images, {message}")


@pytest.mark.parametrize(
    ("field", "value"), [(10, b"\x63"), (24, (2**31).to_bytes(4, "little"))], ids=["method", "size"]
)
def test_a_file_in_a_zip_that_cannot_be_unpacked_leaves_the_others(tmp_path, field, value):
    """An unknown compression, and a stated size of 2 GiB, in the entry of the directory."""
    path = write_zip(tmp_path / "x.zip", FILES)
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\1\2") + field
    content[start : start + len(value)] = value
    path.write_bytes(content)
    assert list(images_in_archive(path)) == [("a.jpg", b""), *list(FILES.items())[1:]]


def test_a_file_in_a_tar_that_unpacks_to_too_much_is_one_line(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "x.tar.gz", FILES | {"d.jpg": b"\0" * 100_000}, "w:gz")
    monkeypatch.setattr("synergy.archives._MAX_BYTES", 10_000)
    found = []
    with pytest.raises(UserError, match=r"x\.tar\.gz: cut off or damaged after 3 images \(d\.jpg: 0\.0 GB unpacked"):
        found.extend(images_in_archive(path))
    assert found == list(FILES.items())
