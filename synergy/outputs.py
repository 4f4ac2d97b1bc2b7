"""Checks, before any work starts, that results can be written."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from synergy.errors import UserError, describe


def require_writable_folder(folder: Path) -> None:
    """Create a folder for results and check that files can be created in it.

    Raises:
        UserError: they cannot, or the folder is called "-", which stands for standard output in other programs.
    """
    if folder == Path("-"):
        raise UserError("-: results are files, which cannot go to standard output; give a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except FileExistsError:
        raise UserError(f"{folder}: cannot be written to (it is a file, a folder is needed)") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({describe(error)})") from None


def require_writable_file(path: Path) -> None:
    """Check that a file for results can be written. An existing file stays as it is.

    Raises:
        UserError: it cannot, or its folder does not exist.
    """
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    existed = path.exists()
    try:
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise UserError(f"{path}: cannot be written to ({describe(error)})") from None
