"""What `synergy predict` reads: files, folders and standard input, each under a unique name."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from synergy.errors import UserError, describe, encodable
from synergy.result_formats import PICTURE_FORMATS

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})
STDIN = "stdin"
# The longest name of a file or folder that most file systems take is 255 bytes; room is left for our endings.
_MAX_NAME_BYTES = 200


@dataclass(frozen=True)
class Source:
    """One input.

    Attributes:
        name: the path as it was given, or the given folder and the path in it; bytes that are not UTF-8 are escaped.
        content: path of the file, or the bytes of standard input.
    """

    name: str
    content: Path | bytes

    @property
    def is_video(self) -> bool:
        """Whether the file is read as a video."""
        return isinstance(self.content, Path) and self.content.suffix.lower() in VIDEO_SUFFIXES

    def version(self) -> str:
        """Identify the content: by size and time of change for a file, by a digest for standard input."""
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        status = self.content.stat()
        return f"{status.st_size} {status.st_mtime_ns}"


def find_sources(inputs: list[str], problem: Callable[[str], None]) -> list[Source]:
    """Find all inputs; folders are searched recursively, without results of earlier runs.

    Args:
        inputs: paths of files and folders, and "-" for standard input.
        problem: called with one line per folder or file that cannot be read and is left out.

    Returns:
        Sources with unique names.

    Raises:
        UserError: an input does not exist, or a folder has no images or videos.
    """
    from synergy.images import IMAGE_SUFFIXES

    suffixes = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    paths: dict[str, Path | bytes] = {}
    for item in inputs:
        path = Path(item)
        if item == "-":
            paths[STDIN] = sys.stdin.buffer.read()
        elif path.is_dir():
            files = _images_below(path, suffixes, problem)
            if not files:
                raise UserError(f"{path}: no images or videos in this folder ({', '.join(sorted(suffixes))})")
            for file in files:
                _add(paths, file, problem)
        elif path.exists() or path.is_symlink():
            _add(paths, path, problem)
        else:
            raise UserError(f"{item}: no such file or folder")
    return [Source(name, content) for name, content in paths.items()]


def _add(paths: dict[str, Path | bytes], file: Path, problem: Callable[[str], None]) -> None:
    """Add a file under its name, unless another file has the same name once bytes are escaped."""
    name = encodable(str(file))
    if paths.setdefault(name, file) != file:
        problem(f"{name}: another input has the same name")


def _images_below(folder: Path, suffixes: frozenset[str], problem: Callable[[str], None]) -> list[Path]:
    """List the regular files of a folder that have one of the suffixes and are no results of ours."""
    from synergy.folders import files_below

    def unreadable(error: OSError) -> None:
        problem(f"{error.filename}: cannot be read ({describe(error)})")

    found = []
    for file in files_below(folder, unreadable):
        if file.suffix.lower() not in suffixes or is_own_output(file.name):
            continue
        # A pipe or a device would block the whole batch.
        if file.exists() and not file.is_file():
            problem(f"{file}: not a regular file")
        else:
            found.append(file)
    return found


def is_own_output(file_name: str) -> bool:
    """Say whether a file name is one that `output_stem` and its endings make.

    Example:
        >>> is_own_output("a.jpg_overlay.jpg"), is_own_output("a_overlay.jpg")
        (True, False)
    """
    from synergy.images import IMAGE_SUFFIXES

    endings = "|".join(suffix[1:] for suffix in sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
    pictures = "|".join(PICTURE_FORMATS)
    pattern = rf"(^{STDIN}|\.({endings})(~[0-9a-f]{{8}})?)_({pictures}|[0-9]+(_[0-9]+)?)\.[a-z0-9]+"
    return re.search(pattern + "$", file_name, re.IGNORECASE) is not None


def output_stem(name: str) -> str:
    """Return the path, relative to the folder of results, with which the files of an input begin.

    Different names give different paths: the folders and the suffix of the input are kept. The root folder becomes
    `root` and the parent folder `up`; folders that have such a name get one more underscore.

    Example:
        >>> output_stem("photos/a.jpg"), output_stem("../a.jpg"), output_stem("/data/a.jpg")
        ('photos/a.jpg', 'up/a.jpg', 'root/data/a.jpg')
    """
    path = PurePath(name)
    parts = ["root" if part == path.anchor else "up" if part == ".." else _escape(part) for part in path.parts]
    return str(PurePath(*parts))


def _escape(part: str) -> str:
    """Keep a file or folder name apart from our own names, and short enough."""
    part = re.sub(r"^((?:root|up)_*)$", r"\1_", part)
    data = os.fsencode(part)
    if len(data) <= _MAX_NAME_BYTES:
        return part
    digest = hashlib.sha256(data).hexdigest()[:8]
    suffix = PurePath(part).suffix if len(PurePath(part).suffix) < 8 else ""
    return data[:_MAX_NAME_BYTES].decode("utf-8", "ignore") + suffix + "~" + digest
