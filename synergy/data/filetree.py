"""Read the files of a folder, a tar or a zip by name, without extracting an archive to disk."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from synergy.archives import check_size, member_name
from synergy.errors import UserError, describe, printable
from synergy.folders import files_below


class FileTree:
    """The files of a folder or archive, for reading.

    It can be pickled and used in forked processes: each process opens the archive for itself.

    Args:
        path: the folder, tar (also compressed) or zip.

    Raises:
        UserError: no such file, or neither a folder nor a complete archive.

    Attributes:
        path: the folder or archive.
        names: sorted names relative to `path`, with forward slashes (`synergy.archives.member_name`). Hidden files and
            the `__MACOSX` folders that macOS adds to archives are left out.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise UserError(f"{self.path}: no such file or folder")
        # By name: what a tar says of the file, or the name that a zip has for it.
        self._tar_members: dict[str, tarfile.TarInfo] = {}
        self._zip_names: dict[str, str] = {}
        self._archive: zipfile.ZipFile | tarfile.TarFile | None = None
        self._process = os.getpid()
        self.names = tuple(sorted(name for name in self._list() if _is_visible(name)))
        self._known = frozenset(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: no such file, its content is damaged, or it is larger than 1 GiB. The message is one line.
        """
        try:
            return self._read(name)
        except KeyError:
            raise FileNotFoundError(f"{printable(name)}: not in {self.path}") from None
        except OSError:
            raise
        # Damaged archives make the readers raise almost anything.
        except Exception as error:
            raise OSError(f"{printable(name)}: damaged in {self.path} ({describe(error)})") from None

    def with_suffix(self, *suffixes: str) -> list[str]:
        """Return the names with one of the suffixes, in upper or lower case.

        Args:
            suffixes: in lower case, with the dot.
        """
        return [name for name in self.names if PurePosixPath(name).suffix.lower() in suffixes]

    def digest(self, names: list[str]) -> str:
        """Return the first 16 hex digits of a SHA-256 over names and contents of files, in the given order."""
        sha = hashlib.sha256()
        for name in names:
            content = self.read(name)
            sha.update(f"{name}\0{len(content)}\0".encode() + content)
        return sha.hexdigest()[:16]

    def _list(self) -> list[str]:
        if self.path.is_dir():
            return [Path(path).relative_to(self.path).as_posix() for path in files_below(self.path)]
        try:
            if zipfile.is_zipfile(self.path):
                self._archive = zipfile.ZipFile(self.path)
                entries = [entry.filename for entry in self._archive.infolist() if not entry.is_dir()]
                self._zip_names = {member_name(stored): stored for stored in entries}
                return list(self._zip_names)
            self._archive = tarfile.open(self.path)  # noqa: SIM115 - kept open for reads
            for member in self._archive:
                if member.isfile():
                    self._tar_members[member_name(member.name)] = member
                elif member.islnk():
                    # A hard link has the content of a file before it.
                    target = self._tar_members.get(member_name(member.linkname), member)
                    self._tar_members[member_name(member.name)] = target
        # Damaged archives make the readers raise almost anything.
        except Exception as error:
            reason = describe(error).rstrip(":")
            raise UserError(f"{self.path}: neither a folder, nor a complete tar or zip ({reason})") from None
        return list(self._tar_members)

    def _read(self, name: str) -> bytes:
        if self.path.is_dir():
            return (self.path / name).read_bytes()
        if self._process != os.getpid() or self._archive is None:  # a file position is not shared between processes
            self._archive = tarfile.open(self.path) if self._tar_members else zipfile.ZipFile(self.path)  # noqa: SIM115
            self._process = os.getpid()
        if isinstance(self._archive, zipfile.ZipFile):
            entry = self._archive.getinfo(self._zip_names[name])
            check_size(name, entry.file_size)
            return self._archive.read(entry)
        member = self._tar_members[name]
        check_size(name, member.size)
        file = self._archive.extractfile(member)
        content = b"" if file is None else file.read()
        if len(content) != member.size:
            raise EOFError("cut short")
        return content

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_archive": None}


def _is_visible(name: str) -> bool:
    return not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
