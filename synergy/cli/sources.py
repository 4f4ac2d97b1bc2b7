"""What `synergy predict` reads: files, folders, lists, archives and standard input, each under a unique name."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath

from synergy.archives import images_in_archive, is_archive
from synergy.errors import UserError, describe, encodable
from synergy.result_formats import PICTURE_FORMATS
from synergy.shards import ALL, Shard

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts"}
)
LIST_SUFFIX = ".txt"
STDIN = "stdin"
# The longest name of a file or folder that most file systems take is 255 bytes; room is left for our endings.
_MAX_NAME_BYTES = 200


@dataclass(frozen=True, slots=True)
class Source:
    """One input.

    Attributes:
        name: the path as it was given, or the given folder or archive and the path in it, with forward slashes; bytes
            that are not UTF-8 are escaped.
        location: path of the file as text, which needs less memory than a `Path`; or the content of standard input or
            of an image in an archive.
    """

    name: str
    location: str | bytes

    @property
    def content(self) -> Path | bytes:
        """The path of the file, or its content."""
        return Path(self.location) if isinstance(self.location, str) else self.location

    @property
    def is_video(self) -> bool:
        """Whether the file is read as a video."""
        return isinstance(self.location, str) and PurePath(self.location).suffix.lower() in VIDEO_SUFFIXES

    @property
    def is_archive(self) -> bool:
        """Whether the file holds images, which `images` reads."""
        return isinstance(self.location, str) and is_archive(self.location)

    def images(self) -> Iterator[Source]:
        """Read the images of an archive.

        Raises:
            UserError: see `synergy.archives.images_in_archive`.
        """
        assert isinstance(self.location, str)
        for name, content in images_in_archive(self.location):
            yield Source(f"{self.name}/{encodable(name)}", content)

    def version(self) -> str:
        """Identify the content: by size and time of change for a file, by a digest for bytes.

        Raises:
            OSError: the file does not exist or cannot be reached.
            UserError: it is a folder, a pipe or a device. A pipe would block the whole batch.
        """
        if isinstance(self.location, bytes):
            return hashlib.sha256(self.location).hexdigest()
        status = Path(self.location).stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{self.name}: not a regular file")
        return f"{status.st_size} {status.st_mtime_ns}"


def find_sources(
    inputs: list[str], problem: Callable[[str], None], note: Callable[[str], None], shard: Shard = ALL
) -> list[Source]:
    """Find all inputs; folders are searched recursively, without results of earlier runs.

    Archives are not opened: each is one source. Files in folders and lists are not opened either.

    Args:
        inputs: paths of images, videos, folders and archives; of text files (.txt) with one path per line; and "-" for
            standard input. Paths in a list are relative to the working folder, as on the command line. They have no
            quotes, and blanks around a path are left out unless a file has them in its name.
        problem: called with one line per folder or file that cannot be read and is left out.
        note: called with one line per folder with files that are left out because they have names of our results.
        shard: files that belong to other parts are left out. Archives are not, because their images are divided.

    Returns:
        Sources with unique names. A million files take about 200 MB of memory.

    Raises:
        UserError: an input is empty or does not exist, or a folder or list has no images or videos.
    """
    paths: dict[str, str | bytes] = {}

    def add(path: str) -> None:
        name = encodable(PurePath(path).as_posix())
        if (is_archive(path) or name in shard) and paths.setdefault(name, path) != path:
            problem(f"{name}: another input has the same name")

    def add_input(item: str) -> None:
        if not item:
            raise UserError("one of the inputs is empty; the working folder is called .")
        if item == "-":
            paths[STDIN] = sys.stdin.buffer.read()
        elif Path(item).is_dir():
            files = _images_below(item, problem, note)
            if not files:
                raise UserError(_nothing_in(item))
            for file in files:
                add(file)
        elif Path(item).suffix.lower() == LIST_SUFFIX and Path(item).is_file():
            for file in _read_list(item):
                add(file)
        elif Path(item).exists() or Path(item).is_symlink():
            add(str(Path(item)))
        else:
            raise UserError(f"{item}: no such file or folder")

    for item in inputs:
        try:
            add_input(item)
        except OSError as error:
            raise UserError(f"{item}: cannot be read ({describe(error)})") from None
    return [Source(name, path) for name, path in paths.items()]


def _read_list(path: str) -> list[str]:
    """Read a text file with one path per line, or raise `UserError`. Empty lines are left out."""
    try:
        # Some editors of Windows write a byte order mark first.
        lines = os.fsdecode(Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)).splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({describe(error)})") from None
    files = [_path_in_line(line) for line in lines if line.strip()]
    if not files:
        raise UserError(f"{path}: the list is empty, expected one path per line")
    return files


def _path_in_line(line: str) -> str:
    """Return the path in a line of a list, without blanks around it unless they belong to the name of a file."""
    path = line.strip()
    return str(Path(line if line != path and os.path.lexists(line) else path))


def _images_below(folder: str, problem: Callable[[str], None], note: Callable[[str], None]) -> list[str]:
    """List the files of a folder that have a suffix of images or videos, are not hidden and are no results of ours."""
    from synergy.folders import files_below, is_hidden

    def unreadable(error: OSError) -> None:
        problem(f"{error.filename}: cannot be read ({describe(error)})")

    suffixes = tuple(_suffixes())
    files = [
        file
        for file in files_below(folder, unreadable)
        if file.lower().endswith(suffixes) and not is_hidden(Path(file).relative_to(folder).as_posix())
    ]
    inputs = [file for file in files if not is_own_output(file.rpartition(os.sep)[2])]
    if n_results := len(files) - len(inputs):
        note(f"{folder}: {n_results} file(s) with names of our results, like a.jpg_overlay.jpg, were left out")
    return inputs


def _nothing_in(folder: str) -> str:
    """Say that a folder has no images, and where it has archives, how these are read."""
    from synergy.folders import files_below

    text = f"{folder}: no images or videos in this folder ({', '.join(sorted(_suffixes()))})"
    archives = [file for file in files_below(folder) if is_archive(file)]
    return f"{text}; archives are read if they are named, as in {archives[0]}" if archives else text


def _suffixes() -> frozenset[str]:
    """Return the suffixes of the files that are read in folders."""
    from synergy.images import IMAGE_SUFFIXES

    return IMAGE_SUFFIXES | VIDEO_SUFFIXES


def is_own_output(file_name: str) -> bool:
    """Say whether a file name is one that `output_stem` and its endings make, for an image or a video.

    Example:
        >>> is_own_output("a.jpg_overlay.jpg"), is_own_output("a_overlay.jpg")
        (True, False)
        >>> is_own_output("a.jpg_0.png"), is_own_output("clip.mp4_0001.jpg")
        (True, False)
    """
    return _own_output().search(file_name) is not None


@cache
def _own_output() -> re.Pattern[str]:
    """Return the pattern of `is_own_output`."""
    endings = "|".join(suffix[1:] for suffix in sorted(_suffixes()))
    pictures = "|".join(PICTURE_FORMATS)
    # Of the files with the number of a face, only the texture of an .obj mesh is an image.
    pattern = rf"(^{STDIN}|\.({endings})(~[0-9a-f]{{8}})?)_(({pictures})\.[a-z0-9]+|[0-9]+(_[0-9]+)?\.png)$"
    return re.compile(pattern, re.IGNORECASE)


def output_stem(name: str) -> str:
    """Return the path, relative to the folder of results, with which the files of an input begin.

    Different names give different paths: the folders and the suffix of the input are kept. The root folder becomes
    `root` and the parent folder `up`; folders that have such a name get one more underscore. On Windows, `root` is
    followed by the letter of the drive, or by the server and its shared folder.

    Example:
        >>> output_stem("photos/a.jpg"), output_stem("../a.jpg"), output_stem("/data/a.jpg")
        ('photos/a.jpg', 'up/a.jpg', 'root/data/a.jpg')
    """
    path = PurePath(name)
    root = ["root", *re.findall(r"[^\\/:?]+", path.drive)] if path.anchor else []
    inside = path.relative_to(path.anchor).parts
    return str(PurePath(*root, *("up" if part == ".." else _escape(part) for part in inside)))


def _escape(part: str) -> str:
    """Keep a file or folder name apart from our own names, and short enough."""
    part = re.sub(r"^((?:root|up)_*)$", r"\1_", part)
    data = os.fsencode(part)
    if len(data) <= _MAX_NAME_BYTES:
        return part
    digest = hashlib.sha256(data).hexdigest()[:8]
    suffix = PurePath(part).suffix if len(PurePath(part).suffix) < 8 else ""
    return data[:_MAX_NAME_BYTES].decode("utf-8", "ignore") + suffix + "~" + digest
