"""A folder of results that stays valid if a process that writes it is killed, and that takes several writers at once.

`predictions.jsonl` is the record: every finished input appends its faces there as one line of JSON (a video one line
per frame, and one at the end). Everything else in the folder can be derived from it:

- Pictures and meshes are written into a hidden folder of the process and moved to their place under a lock, together
  with the line of the record. What has a line is complete; what has none is done again.
- A line that was cut off by a killed process is dropped by the next writer.
- An input that could not be used has a line with the reason. Another run tries it again.
- A line says with which settings and from which version of the input it was made. Another run skips an input only if
  both are the same. The last line of an input counts.
- `predictions.json`, `predictions.csv` and `predictions.parquet` are put together from the record at the end of a run,
  one row after the other. `skipped.csv` lists the inputs that could not be used.

Memory grows only with the number of inputs: by some hundred bytes for each.

The lock is the file `.predictions.lock`. The operating system releases it when a process dies. Nothing is flushed to
the disk explicitly: results survive the death of the process, not a power failure.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from synergy.errors import UserError
from synergy.export import (
    FaceDict,
    ImageDict,
    write_csv_rows,
    write_json_rows,
    write_parquet_rows,
    write_skipped_rows,
)
from synergy.outputs import require_writable_folder

T = TypeVar("T")

RECORD = "predictions.jsonl"
SKIPPED = "skipped.csv"


@dataclass(frozen=True, slots=True)
class Finished:
    """What the record says about a finished input.

    Attributes:
        key: identifies the input's content and the settings.
        formats: the picture and mesh formats that were asked for.
        files: the files that were written, relative to the folder.
        images: number of images, which is 1 or the number of frames.
        faces: number of faces in them.
        problem: one line about the part of the input that could not be read; empty if all of it was read.
    """

    key: str
    formats: frozenset[str]
    files: tuple[str, ...]
    images: int
    faces: int
    problem: str = ""


class ResultFolder:
    """The results of many inputs in one folder, as a context manager.

    Args:
        path: the folder, which is created.

    Raises:
        UserError: the folder cannot be written to, or its record is not one.
    """

    def __init__(self, path: Path) -> None:
        require_writable_folder(path)
        self.path = path
        self._record = path / RECORD
        self._lock = FileLock(path / ".predictions.lock")
        self._read_to = 0
        self._finished: dict[str, Finished] = {}
        self._failed: dict[str, str] = {}
        self._blendshapes: dict[str, None] = {}
        self._n_stages = 0
        _remove_abandoned(path)
        self._staging = Path(tempfile.mkdtemp(prefix=_staging_prefix(os.getpid()), dir=path))
        self._read_new_lines()

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the process's hidden folder."""
        shutil.rmtree(self._staging, ignore_errors=True)

    def stage(self) -> Path:
        """Return the path of a hidden folder for the files of one input. It does not exist yet."""
        self._n_stages += 1
        return self._staging / str(self._n_stages)

    def finished(self, source: str, key: str, formats: Sequence[str]) -> Finished | None:
        """Return what is recorded of an input, or None if it has to be done.

        Args:
            source: the input's name.
            key: identifies the input's content and the settings.
            formats: the picture and mesh formats that are wanted.
        """
        self._read_new_lines()
        found = self._finished.get(source)
        if found is None or found.key != key or not found.formats.issuperset(formats):
            return None
        return found if all((self.path / file).exists() for file in found.files) else None

    def finished_keys(self, prefix: str) -> dict[str, str]:
        """Return the recorded keys of the finished inputs whose names begin with a prefix and whose files all exist."""
        self._read_new_lines()
        return {
            name: one.key
            for name, one in self._finished.items()
            if name.startswith(prefix) and all((self.path / file).exists() for file in one.files)
        }

    def add_frame(self, source: str, key: str, name: str, seconds: float, faces: list[FaceDict]) -> None:
        """Record the faces of one frame of a video that is not finished yet, and its time in seconds."""
        with self._lock:
            self._append({"source": source, "key": key, "name": name, "seconds": round(seconds, 4), "faces": faces})

    def finish(
        self,
        source: str,
        key: str,
        formats: Sequence[str],
        faces: list[FaceDict] | None,
        frames: tuple[int, int] = (1, 0),
        problem: str = "",
        staged: Path | None = None,
    ) -> Finished:
        """Move the staged files of an input to their place and record the input as finished.

        Files of other formats are kept if they were made from the same content with the same settings, and removed
        otherwise. Where another process has finished the same input meanwhile, the staged files are dropped.

        Args:
            source: the input's name.
            key: identifies the input's content and the settings.
            formats: the picture and mesh formats of the staged files.
            faces: the faces of an image; None for a video, whose frames are recorded already.
            frames: number of images and of faces in them, for a video.
            problem: one line about the part of a video that could not be read; empty if all of it was read. If it is
                empty and files of other formats are kept, the recorded line is kept too.
            staged: a folder from `stage` with the files; it is removed. None if there are no files.

        Returns:
            What is recorded now.

        Raises:
            OSError: the files cannot be written; `synergy.errors.is_fatal` says whether others can.
        """
        if staged is not None:
            self._require_staged(staged)
        try:
            with self._lock:
                if (found := self.finished(source, key, formats)) is not None:
                    return found
                new = [] if staged is None else sorted(str(file.relative_to(staged)) for file in _files(staged))
                before = self._finished.get(source)
                kept, kept_formats = self._keep_or_remove(source, key, new)
                if before is not None and kept_formats:
                    # It is still true of the files that are kept.
                    problem = problem or before.problem
                for file in new:
                    assert staged is not None
                    target = self.path / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    (staged / file).replace(target)
                files, all_formats = sorted([*new, *kept]), sorted(kept_formats.union(formats))
                line: dict[str, Any] = {"source": source, "key": key, "formats": all_formats, "files": files}
                if faces is None:
                    read_in_part = {"problem": problem} if problem else {}
                    self._append(line | {"frames": frames[0], "frame_faces": frames[1]} | read_in_part)
                else:
                    self._append(line | {"name": source, "faces": faces})
                return self._finished[source]
        finally:
            if staged is not None:
                self.drop(staged)

    def drop(self, staged: Path) -> None:
        """Remove a folder from `stage`."""
        self._require_staged(staged)
        shutil.rmtree(staged, ignore_errors=True)

    def _require_staged(self, staged: Path) -> None:
        """Raise `ValueError` for a folder that is not from `stage`, whose files would be moved and removed."""
        if staged.parent != self._staging:
            raise ValueError(f"{staged}: not a folder of staged files")

    def fail(self, source: str, key: str, reason: str, staged: Path | None = None) -> None:
        """Record why an input could not be used. An earlier result of it is kept.

        Args:
            source: the input's name.
            key: identifies the input's content and the settings.
            reason: one line.
            staged: a folder from `stage` with files of the input, which are removed.
        """
        if staged is not None:
            self.drop(staged)
        with self._lock:
            self._read_new_lines()
            if self._failed.get(source) != reason:
                self._append({"source": source, "key": key, "failed": reason})

    def forget_failure(self, source: str) -> None:
        """Record that an input can be used now. `finish` does this for images and videos."""
        with self._lock:
            self._read_new_lines()
            if source in self._failed:
                self._append({"source": source, "key": "", "failed": ""})

    def _keep_or_remove(self, source: str, key: str, staged: Sequence[str]) -> tuple[list[str], frozenset[str]]:
        """Keep the recorded files of an input if they have the same key, and remove them otherwise.

        Args:
            source: the input's name.
            key: identifies the input's content and the settings.
            staged: new files, which replace recorded files of the same names.

        Returns:
            The files that were kept, and their formats; no formats if a recorded file is missing.
        """
        before = self._finished.get(source)
        others = [] if before is None else sorted(set(before.files).difference(staged))
        if before is None or before.key != key:
            for file in others:
                (self.path / file).unlink(missing_ok=True)
            return [], frozenset()
        kept = [file for file in others if (self.path / file).exists()]
        return kept, before.formats if len(kept) == len(others) else frozenset()

    def write_tables(self, tables: Collection[str]) -> None:
        """Write files with everything in the record, sorted by name, and the list of inputs that could not be used.

        Args:
            tables: names from `synergy.result_formats.TABLE_FORMATS`; each becomes the file `predictions.NAME`.
        """
        with self._lock, _reading(self._record):
            self._read_new_lines()
            write: dict[str, Callable[[Path, Iterator[ImageDict]], None]] = {
                "json": write_json_rows,
                "csv": partial(write_csv_rows, blendshapes=list(self._blendshapes)),
                "parquet": write_parquet_rows,
            }
            offsets = self._row_offsets() if tables else []
            for name in tables:
                self._replace(f"predictions.{name}", write[name], self._rows(offsets))
            if self._failed:
                self._replace(SKIPPED, write_skipped_rows, iter(sorted(self._failed.items())))
            else:
                (self.path / SKIPPED).unlink(missing_ok=True)

    def _replace(self, name: str, write: Callable[[Path, Iterator[T]], None], rows: Iterator[T]) -> None:
        """Write rows to a file next to its place and move it there."""
        write(self._staging / name, rows)
        (self._staging / name).replace(self.path / name)

    def _append(self, line: dict[str, Any]) -> None:
        """Append a line to the record; the lock must be held. A line that was cut off before is removed."""
        data = json.dumps(line, allow_nan=False).encode() + b"\n"
        self._read_new_lines()
        # "r+" and not "a", because writing begins where the last whole line ends.
        with open(os.open(self._record, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as file:
            file.truncate(self._read_to)
            file.seek(self._read_to)
            written = file.write(data)
            if written != len(data):
                file.truncate(self._read_to)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._note(line)
        self._read_to += len(data)

    def _read_new_lines(self) -> None:
        """Take note of the whole lines that were appended to the record since the last call."""
        for offset, line in self._lines(self._read_to):
            with _reading(self._record):
                self._note(_parse(line, self._record))
            self._read_to = offset + len(line)

    def _note(self, line: dict[str, Any]) -> None:
        """Take note of one line of the record."""
        faces = line.get("faces", [])
        for face in faces:
            if not self._blendshapes.keys() >= face["blendshapes"].keys():
                self._blendshapes |= dict.fromkeys(face["blendshapes"])
        if line.get("failed"):
            self._failed[line["source"]] = line["failed"]
        elif "failed" in line:
            self._failed.pop(line["source"], None)
        if "formats" in line:
            self._failed.pop(line["source"], None)
            self._finished[line["source"]] = Finished(
                line["key"],
                _format_set(tuple(line["formats"])),
                tuple(line["files"]),
                line.get("frames", 1),
                line.get("frame_faces", len(faces)),
                line.get("problem", ""),
            )

    def _lines(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield offset and content of the record's whole lines from an offset on."""
        if not self._record.exists():
            return
        with self._record.open("rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                yield start, line
                start += len(line)

    def _row_offsets(self) -> list[int]:
        """Return the offsets of the lines that count, sorted by image name: the last of each name and input.

        Of an input that was finished once, the lines of an unfinished run with other settings do not count.
        """
        key_of: dict[str, str] = {}
        rows: dict[tuple[str, str], tuple[str, int]] = {}
        for offset, content in self._lines(0):
            line = _parse(content, self._record)
            if "failed" not in line:
                key_of[line["source"]] = line["key"]
            if "name" in line:
                rows[line["name"], line["key"]] = line["source"], offset
        key_of |= {name: one.key for name, one in self._finished.items()}
        return [offset for (_, key), (source, offset) in sorted(rows.items()) if key == key_of[source]]

    def _rows(self, offsets: Sequence[int]) -> Iterator[ImageDict]:
        """Yield the images that the lines at some offsets record."""
        if not offsets:
            return
        with self._record.open("rb") as file:
            for offset in offsets:
                file.seek(offset)
                line = _parse(file.readline(), self._record)
                yield {key: line[key] for key in ("name", "seconds", "faces") if key in line}


def _parse(line: bytes, record: Path) -> dict[str, Any]:
    """Read one line of a record, or raise `UserError`."""
    with _reading(record):
        content = json.loads(line)
        if not all(isinstance(content[key], str) for key in ("source", "key")):
            raise TypeError
        return dict(content)


@contextmanager
def _reading(record: Path) -> Iterator[None]:
    """Turn the errors of values that no line of a record has into `UserError`."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{record}: not a record of results, remove it or choose another --out") from None


@cache
def _format_set(names: tuple[str, ...]) -> frozenset[str]:
    """Return the same set for the same names, which saves memory."""
    return frozenset(names)


def _files(folder: Path) -> list[Path]:
    """List the files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def _staging_prefix(pid: int) -> str:
    """Return how the hidden folder of a process of this machine begins."""
    return f".partial-{socket.gethostname()}-{pid}-"


def _remove_abandoned(path: Path) -> None:
    """Remove the hidden folders of processes of this machine that no longer run."""
    for folder in path.glob(".partial-*-*-*"):
        # The name of a machine may have hyphens, the other parts have none.
        host, pid, _ = folder.name.removeprefix(".partial-").rsplit("-", 2)
        if host == socket.gethostname() and pid.isdigit() and not _is_running(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    """Say whether a process of this machine runs."""
    if os.name == "nt":
        # There, os.kill ends the process, whatever the signal.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
