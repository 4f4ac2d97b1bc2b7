"""Listing of the files below a folder, with symbolic links to folders followed once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath


def files_below(folder: str | Path, unreadable: Callable[[OSError], None] | None = None) -> list[str]:
    """List the files of a folder and of the folders in it, sorted by path.

    A link to a folder is followed, unless the files of that folder are listed already, under its own path or through
    another link. A link to a folder that contains it therefore neither repeats files nor recurses without end.

    Args:
        folder: the folder to search.
        unreadable: called for every folder that cannot be read, with the error; its `filename` is the folder. Such
            folders are left out.

    Returns:
        Paths that begin with `folder`, as text: a million of them take a third of the memory of `Path` objects.
    """
    seen: set[tuple[int, int]] = set()
    found: list[str] = []
    waiting = [str(Path(folder))]
    while waiting:
        links: list[str] = []
        for top in waiting:
            for current, folders, files in os.walk(top, onerror=unreadable):
                here = Path(current)
                status = here.stat()
                identity = status.st_dev, status.st_ino
                if identity in seen:
                    folders.clear()
                    continue
                seen.add(identity)
                prefix = str(here / "x").removesuffix("x")
                found += [prefix + name for name in files]
                links += [prefix + name for name in folders if Path(prefix + name).is_symlink()]
        waiting = sorted(links)
    return sorted(found)


def is_hidden(path: str) -> bool:
    """Say whether a file or a folder in its path is hidden, or belongs to the `__MACOSX` folder of an archive.

    Args:
        path: a path relative to the searched folder or archive, with forward slashes.
    """
    return any(part.startswith((".", "__MACOSX")) and part not in (".", "..") for part in PurePosixPath(path).parts)
