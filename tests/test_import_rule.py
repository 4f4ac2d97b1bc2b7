"""Packages import each other in one direction only (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "bfm_assets": {"bfm_assets"},
    "synergy": {"bfm_assets", "synergy"},
    "eval": {"bfm_assets", "synergy", "eval"},
    "train": {"bfm_assets", "synergy", "eval", "train"},
}


def imported_packages(source: str) -> list[tuple[str, bool]]:
    """The packages of this project that a source imports, and whether the import runs when the file is imported.

    Imports inside functions and under `if TYPE_CHECKING` do not run then.
    """
    tree = ast.parse(source)
    deferred = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.FunctionDef) or (isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test))
        for node in ast.walk(block)
    }
    packages = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        packages += [(name.split(".")[0], id(node) not in deferred) for name in names]
    return [(package, runs) for package, runs in packages if package in ALLOWED]


def is_allowed(path: Path, package: str, runs: bool) -> bool:
    """Whether a file may import a package. The command line may import all packages, but only inside functions."""
    return package in ALLOWED[path.parts[0]] or (path.parts[:2] == ("synergy", "cli") and not runs)


def test_imports_are_found() -> None:
    source = "import eval.metrics\ndef f():\n    from train import cli\n"
    assert imported_packages(source) == [("eval", True), ("train", False)]
    assert not is_allowed(Path("synergy/face.py"), "train", False)
    assert is_allowed(Path("synergy/cli/train.py"), "train", False)
    assert not is_allowed(Path("synergy/cli/train.py"), "train", True)


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_run_one_way(package: str) -> None:
    files = [path.relative_to(ROOT) for path in sorted((ROOT / package).rglob("*.py"))]
    assert files
    forbidden = [
        f"{path} imports {imported}"
        for path in files
        for imported, runs in imported_packages((ROOT / path).read_text())
        if not is_allowed(path, imported, runs)
    ]
    assert forbidden == []
