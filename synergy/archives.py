"""Images in archives: tar (also compressed) as WebDataset writes them, zip, and Parquet files with image bytes.

Archives are read from their beginning to their end, one image after the other. Nothing is extracted to the disk. The
memory that is needed does not depend on the size of the archive.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from synergy.errors import UserError, describe, printable
from synergy.extras import needs_extra
from synergy.folders import is_hidden

if TYPE_CHECKING:
    import pyarrow as pa

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", ".parquet")
# Rows of a Parquet file that are read at once.
_ROWS = 16
# No image and no label file has this size. A small archive can state that it holds such a file.
_MAX_BYTES = 2**30


def is_archive(name: str) -> bool:
    """Say whether a file name is that of an archive.

    Example:
        >>> is_archive("faces-0001.tar"), is_archive("photo.jpg")
        (True, False)
    """
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def member_name(stored: str) -> str:
    """Return the name of a file in an archive: without slashes in front and parts that are ".".

    They make no difference for programs that unpack archives.

    Example:
        >>> member_name("./faces/a.jpg"), member_name("/a.jpg")
        ('faces/a.jpg', 'a.jpg')
    """
    return str(PurePosixPath(stored)).lstrip("/")


def check_size(name: str, size: int) -> None:
    """Refuse a file of an archive that is too large to be read into memory.

    Args:
        name: name of the file in the archive.
        size: its unpacked size in bytes.

    Raises:
        OSError: it is larger than 1 GiB.
    """
    if size > _MAX_BYTES:
        raise OSError(f"{printable(name)}: {size / 1e9:.1f} GB unpacked, larger than any file of a data set")


def images_in_archive(path: str | Path) -> Iterator[tuple[str, bytes]]:
    """Read the images of an archive in their order.

    Files of a tar or zip are images if they have the suffix of one (`synergy.images.IMAGE_SUFFIXES`); hidden files and
    the `__MACOSX` folders of macOS are left out. Rows of a Parquet file are images if the file has one column of bytes,
    or one column of structures with a field `bytes`, as Hugging Face writes them.

    Args:
        path: a file with one of `ARCHIVE_SUFFIXES`.

    Yields:
        Name in the archive (`member_name`) and content of the image's file. An image of a Parquet file is named by the
        number of its row, with nine digits, from 0. Of several files of one name only the first is read. The content of
        a hard link in a tar is empty.

    Raises:
        UserError: the archive cannot be read, or not to its end. What was readable has been yielded before.
    """
    path = Path(path)
    read = _parquet_files if path.suffix.lower() == ".parquet" else _zip_files if _is_zip(path) else _tar_files
    names: set[str] = set()
    try:
        for stored, content in read(path):
            name = member_name(stored)
            if name not in names:
                names.add(name)
                yield name, content
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    # Damaged archives make the readers raise almost anything.
    except Exception as error:
        where = f"after {len(names)} images" if names else "at its beginning"
        reason = str(error).partition("\n")[0].rstrip(":") or describe(error)
        raise UserError(f"{path}: cut off or damaged {where} ({reason})") from None


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _is_image(name: str) -> bool:
    """Say whether a file in an archive is an image by its name."""
    from synergy.images import IMAGE_SUFFIXES

    return not is_hidden(name) and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _tar_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the images in a tar.

    Raises:
        EOFError: the tar does not end with a block of zeros. `tarfile` reads such a file without an error.
    """
    with tarfile.open(path) as archive:
        for member in archive:
            if member.islnk() and _is_image(member.name):
                # Its content is that of an earlier file. In a compressed archive, reading it again can take very long.
                yield member.name, b""
            elif member.isfile() and _is_image(member.name):
                check_size(member.name, member.size)
                file = archive.extractfile(member)
                content = b"" if file is None else file.read()
                if len(content) != member.size:
                    raise EOFError("a file ends too early")
                yield member.name, content
            # tarfile keeps what it knows of every member, which grows with the archive.
            archive.members.clear()  # type: ignore[attr-defined]
        assert archive.fileobj is not None
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise EOFError("the end of the archive is missing")


def _zip_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the images in a zip."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if not entry.is_dir() and _is_image(entry.filename):
                try:
                    check_size(entry.filename, entry.file_size)
                    content = archive.read(entry)
                # The files of a zip are independent: of a damaged one there is no content, the others are read.
                # Damage makes the readers raise almost anything.
                except Exception:
                    content = b""
                yield entry.filename, content


def _parquet_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield numbers and contents of the images in the rows of a Parquet file."""
    with needs_extra("scale", f"{path}: reading Parquet"):
        import pyarrow.parquet as pq
    with pq.ParquetFile(path) as file:
        column = _image_column(file.schema_arrow, path)
        number = 0
        for batch in file.iter_batches(_ROWS, columns=[column]):
            for value in batch.column(0).to_pylist():
                content = value["bytes"] if isinstance(value, dict) else value
                yield f"{number:09d}", content or b""
                number += 1


def _image_column(schema: pa.Schema, path: Path) -> str:
    """Return the name of the only column with the bytes of images, or raise `UserError`."""
    import pyarrow as pa

    def is_bytes(kind: pa.DataType) -> bool:
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    found = [
        field.name
        for field in schema
        if is_bytes(field.type)
        or (pa.types.is_struct(field.type) and any(sub.name == "bytes" and is_bytes(sub.type) for sub in field.type))
    ]
    if len(found) != 1:
        raise UserError(
            f"{path}: expected one column with the bytes of images, found {', '.join(found) or 'none'} "
            f"(columns: {', '.join(schema.names)})"
        )
    return str(found[0])
