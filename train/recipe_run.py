"""A run of a recipe: its steps in order, with a record that lets an interrupted run continue."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import platform
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import filelock

from bfm_assets import ModelFileError
from synergy.errors import TimeLimitError, UserError
from train.face_module import git_revision, last_checkpoint
from train.recipe import PLACEHOLDER, Recipe, Step

_ARCHIVES = (".tar", ".zip")
_PACKAGES = ("synergy-face", "torch", "lightning", "kornia", "numpy", "opencv-python")
_MIN_SECONDS = 5.0
"""Time that must be left before a step is begun under a time limit."""

Record = dict[str, Any]


@dataclass
class RecipeRun:
    """A run of a recipe in one folder. `OUT/manifest.json` records it.

    A finished step is skipped. Its command, its inputs and its outputs must then be unchanged. An interrupted step
    continues from the checkpoint of a training run or from the parts of a pack, and otherwise begins again.

    Args:
        recipe: the steps.
        data: folder of the data files.
        out: folder of the run.
        execute: runs a command of `synergy`, given as its arguments.
        say: prints a line.
        redo: repeat steps whose command or inputs have changed. Their folders are renamed to `NAME~1`, `NAME~2`, ...
        seconds: time limit of this call; no limit by default. Training stops with a checkpoint.
    """

    recipe: Recipe
    data: Path
    out: Path
    execute: Callable[[list[str]], object]
    say: Callable[[str], object]
    redo: bool = False
    seconds: float | None = None
    _digests: dict[Path, str] = field(default_factory=dict, init=False)

    def run(self, only: Sequence[str] = ()) -> bool:
        """Run the steps that are not finished.

        Args:
            only: names of steps, with `*` for any characters; all steps by default.

        Returns:
            Whether all of these steps are finished. Otherwise the time limit was reached.

        Raises:
            UserError: another process works in the folder; a name in `only` is unknown; a file is missing, damaged or
                has changed; or a command failed. The message names the step.
        """
        started = time.monotonic()
        steps = self._chosen(only)
        if not self.data.is_dir():
            raise UserError(f"--data {self.data}: no such folder")
        self.out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.out / ".lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise UserError(f"{self.out}: another process works in this folder") from None
        with lock:
            manifest = self._manifest()
            for step in steps:
                for name, path in self._inputs(step).items():
                    if name.startswith("{data}"):  # a missing or damaged file is reported before any work
                        self._input_digest(name, path, step)
            for number, step in enumerate(steps, 1):
                if self._is_finished(step, manifest["steps"]):
                    self.say(f"[{number}/{len(steps)}] {step.name}: finished before")
                    continue
                left = None if self.seconds is None else self.seconds - (time.monotonic() - started)
                self.say(f"[{number}/{len(steps)}] {step.name}: {shlex.join(['synergy', *self._resolve(step)])}")
                if (left is not None and left < _MIN_SECONDS) or not self._run_step(step, manifest, left):
                    self.say(f"time limit: {number - 1} of {len(steps)} steps are finished")
                    return False
        return True

    def show(self, only: Sequence[str] = ()) -> None:
        """Print each step, whether it is finished, and its command, without running anything."""
        records = self._manifest()["steps"]
        for step in self._chosen(only):
            status = "finished" if records.get(step.name, {}).get("finished") else "to do"
            self.say(f"{step.name} ({status}): {shlex.join(['synergy', *self._resolve(step, is_dry=True)])}")

    def _chosen(self, only: Sequence[str]) -> list[Step]:
        for name in only:
            if not any(fnmatch(step.name, name) for step in self.recipe.steps):
                names = ", ".join(step.name for step in self.recipe.steps)
                raise UserError(f"--only {name}: no such step; the steps are {names}")
        return [step for step in self.recipe.steps if not only or any(fnmatch(step.name, name) for name in only)]

    def _manifest(self) -> Record:
        path = self.out / "manifest.json"
        if not path.exists():
            return {"recipe": {}, "steps": {}}
        try:
            content: Record = json.loads(path.read_text())
            content["steps"].items()
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            raise UserError(f"{path}: damaged; restore it, or choose another --out") from None
        return content

    def _save(self, manifest: Record) -> None:
        manifest["recipe"] = {"file": self.recipe.path.name, "sha256": self.recipe.digest}
        part = self.out / "manifest.part"
        part.write_text(json.dumps(manifest, indent=1) + "\n")
        part.replace(self.out / "manifest.json")

    def _folder(self, step: Step) -> Path:
        return self.out / step.name

    def _checkpoint(self, step: Step) -> Path:
        return last_checkpoint(self._folder(step))

    def _resolve(self, step: Step, is_dry: bool = False) -> list[str]:
        """Return the arguments of a step with paths instead of placeholders."""
        return [text for argument in step.arguments for text, _ in self._expand(step, argument, is_dry)]

    def _expand(self, step: Step, argument: str, is_dry: bool = False) -> list[tuple[str, str]]:
        """Return what an argument of a step stands for.

        Returns:
            The text of each argument, and a name of it that does not depend on where the folders are.
        """
        if (found := PLACEHOLDER.search(argument)) is None:
            return [(argument, argument)]
        start, name, end = argument[: found.start()], found[1], argument[found.end() :]
        if name == "out":
            folders = {"{out}": str(self._folder(step))}
        elif name == "data":
            folders = self._data_paths(step, end, is_dry)
            end = ""
        else:
            earlier = self.recipe.steps[: self.recipe.steps.index(step)]
            folders = {f"{{{s.name}}}": str(self._folder(s)) for s in earlier if fnmatch(s.name, name)}
        return [(f"{start}{folder}{end}", f"{start}{key}{end}") for key, folder in folders.items()]

    def _data_paths(self, step: Step, rest: str, is_dry: bool) -> dict[str, str]:
        """Return the data files that an argument names, by their names with `{data}`."""
        if "*" not in rest:
            return {f"{{data}}{rest}": f"{self.data}{rest}"}
        found = sorted(str(path.relative_to(self.data)) for path in self.data.glob(rest.lstrip("/")))
        if not found and not is_dry:
            raise UserError(f"step {step.name}: {self.data}{rest}: no such file")
        return {f"{{data}}/{name}": f"{self.data}/{name}" for name in found}

    def _inputs(self, step: Step) -> dict[str, Path]:
        """Return the files and folders that a step reads, by names that do not depend on where the folders are."""
        inputs: dict[str, Path] = {}
        for argument in step.arguments:
            found = PLACEHOLDER.search(argument)
            if found is None or found[1] == "out":
                continue
            for text, name in self._expand(step, argument):
                path = Path(text[found.start() :])
                if path == self.data:
                    continue
                inputs[name[found.start() :]] = path
                if found[1] == "data" and path.suffix in _ARCHIVES:
                    same_name = sorted(path.parent.glob(f"{path.stem}.*"))
                    inputs |= {f"{{data}}/{other.relative_to(self.data)}": other for other in same_name}
        return inputs

    def _input_digests(self, step: Step, records: Mapping[str, Record]) -> dict[str, str]:
        """Return the SHA-256 of each input of a step.

        Raises:
            UserError: an input is missing, is not what the recipe states, or its step is not finished.
        """
        digests = {}
        for name, path in self._inputs(step).items():
            if not name.startswith("{data}"):
                made_by = name[1 : name.index("}")]
                if not records.get(made_by, {}).get("finished"):
                    raise UserError(f"step {step.name} needs step {made_by}, which is not finished")
            digests[name] = self._input_digest(name, path, step)
        return digests

    def _input_digest(self, name: str, path: Path, step: Step) -> str:
        """Return the SHA-256 of an input of a step, after the check that it is there and what the recipe states."""
        if not path.exists():
            raise UserError(f"step {step.name}: {path} is missing")
        digest = self._digest(path, step)
        stated = self.recipe.data.get(name.removeprefix("{data}/"))
        if stated and stated != digest:
            raise UserError(f"step {step.name}: {path} is damaged, or not the file that {self.recipe.path.name} states")
        return digest

    def _digest(self, path: Path, step: Step) -> str:
        """Return the SHA-256 of a file, or of the names and the content of all files in a folder."""
        if path not in self._digests:
            try:
                if path.is_dir():
                    files = {str(file.relative_to(path)): self._digest(file, step) for file in _files(path)}
                    self._digests[path] = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
                else:
                    with path.open("rb") as file:
                        self._digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise UserError(f"step {step.name}: {path} cannot be read ({error.strerror})") from None
        return self._digests[path]

    def _is_finished(self, step: Step, records: Record) -> bool:
        """Return whether a step is finished. What cannot be continued is put aside.

        Raises:
            UserError: an input or the command has changed since the step was begun, and `redo` is not set; or an
                output has changed.
        """
        if (record := records.get(step.name)) is None:
            return False
        folder, inputs = self._folder(step), self._input_digests(step, records)
        changed = [name for name in {*inputs, *record["inputs"]} if inputs.get(name) != record["inputs"].get(name)]
        if changed or list(step.arguments) != record["arguments"]:
            what = f"its input {min(changed)} has" if changed else "its command has"
            if record.get("finished") or self._checkpoint(step).exists():
                self._put_aside(step, what)
            shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            del records[step.name]
            return False
        if not record.get("finished"):
            return False
        found = {str(file.relative_to(folder)): self._digest(file, step) for file in _files(folder)}
        for name, digest in record["outputs"].items():
            if found.get(name) != digest:
                raise UserError(
                    f"step {step.name}: {folder / name} was changed or removed after the step; restore it, or remove "
                    f"{folder} to repeat the step"
                )
        return True

    def _put_aside(self, step: Step, what: str) -> None:
        """Rename the folder of a step that has changed, if `redo` is set."""
        folder = self._folder(step)
        if not self.redo:
            raise UserError(
                f"step {step.name}: {what} changed since it was begun; restore it, or repeat the step with --redo"
            )
        target = next(path for n in range(1, 10**6) if not (path := self.out / f"{step.name}~{n}").exists())
        folder.rename(target)
        self.say(f"{step.name}: {what} changed; the folder is now {target}")
        self._digests = {path: known for path, known in self._digests.items() if folder not in (path, *path.parents)}

    def _run_step(self, step: Step, manifest: Record, left: float | None) -> bool:
        """Run a step and record it. Returns whether it is finished; otherwise the time limit was reached."""
        record: Record = {
            "command": shlex.join(["synergy", *self._resolve(step)]),
            "arguments": list(step.arguments),
            "inputs": self._input_digests(step, manifest["steps"]),
            **_program(),
            "begun": _now(),
            "seconds": manifest["steps"].get(step.name, {}).get("seconds", 0.0),
        }
        manifest["steps"][step.name] = record
        self._save(manifest)
        folder, arguments = self._folder(step), self._resolve(step)
        is_training = step.arguments[:2] == ("train", "fit")
        if is_training and self._checkpoint(step).exists():
            arguments += ["--ckpt_path", str(self._checkpoint(step))]
            self.say(f"{step.name}: continues from {self._checkpoint(step)}")
        elif not (folder / "parts").is_dir() or (folder / "manifest.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
        if is_training and left is not None:
            arguments += ["--time_limit", f"{left:.0f}"]
        folder.mkdir(exist_ok=True)
        started = time.monotonic()
        try:
            self.execute(arguments)
            is_finished = True
        except TimeLimitError:
            is_finished = False
        except (UserError, ModelFileError) as error:
            raise UserError(f"step {step.name}: {error}") from None
        except Exception as error:
            error.add_note(f"in step {step.name}: {record['command']}")
            raise
        finally:
            record["seconds"] = round(record["seconds"] + time.monotonic() - started, 1)
            if is_training:
                gc.collect()  # its data set
            self._save(manifest)
        if is_finished:
            if step.results and not (folder / step.results).is_file():
                raise UserError(f"step {step.name}: its command did not write {step.results}, which 'results' names")
            outputs = {str(file.relative_to(folder)): self._digest(file, step) for file in _files(folder)}
            record |= {"finished": _now(), "outputs": outputs}
            if step.results:
                with contextlib.suppress(ValueError):
                    record["results"] = json.loads((folder / step.results).read_text())
            self._save(manifest)
        return is_finished


def _files(folder: Path) -> list[Path]:
    return sorted(Path(root) / name for root, _, names in os.walk(folder) for name in names)


@cache
def _program() -> Record:
    """Return the commit of this code and the versions of Python and of the packages that decide results."""
    versions = {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}
    return {"git": git_revision(), "versions": versions}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
