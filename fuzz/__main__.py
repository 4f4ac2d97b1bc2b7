"""Run the fuzz targets with atheris: `python -m fuzz [TARGET ...] --seconds 600`.

Each target runs in a process of its own, for at least `--seconds`. The last line of a target's output says how often it
was executed. An input that fails is kept in `--out`, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

# One execution may take this long, and the process may take this much memory.
_SECONDS_PER_INPUT = 30
_MEMORY_MB = 3072


def main() -> int:
    """Run the wanted targets one after the other."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="names of fuzz.targets.TARGETS; all by default")
    parser.add_argument("--seconds", type=int, default=600, help="time for each target")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"), help="folder for inputs that fail")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        # Nothing of the project is imported yet, because atheris instruments modules while they are imported.
        _fuzz(options.targets[0], options.seconds, options.out)
        return 0
    from fuzz.targets import TARGETS

    if unknown := sorted(set(options.targets) - set(TARGETS)):
        parser.error(f"unknown target {', '.join(unknown)}; choose from {', '.join(TARGETS)}")
    failed = [name for name in options.targets or TARGETS if not _run(name, options.seconds, options.out)]
    if failed:
        print(f"failed: {', '.join(failed)}; the inputs are in {options.out}/", file=sys.stderr)
    return 1 if failed else 0


def _run(name: str, seconds: int, out: Path) -> bool:
    """Fuzz one target in another process, print a line about it, and say whether nothing failed."""
    start = time.monotonic()
    command = [sys.executable, "-m", "fuzz", name, "--alone", "--seconds", str(seconds), "--out", str(out)]
    finished = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    found = re.search(r"number_of_executed_units:\s+(\d+)", finished.stderr)
    peak = re.search(r"peak_rss_mb:\s+(\d+)", finished.stderr)
    ok = finished.returncode == 0
    print(
        f"{name:12} {time.monotonic() - start:6.0f} s  {found[1] if found else '?':>9} executions  "
        f"{peak[1] if peak else '?':>5} MB  {'no failure' if ok else f'FAILED with status {finished.returncode}'}",
        flush=True,
    )
    if not ok:
        print(finished.stdout[-2000:] + finished.stderr[-6000:], file=sys.stderr, flush=True)
    return ok


def _fuzz(name: str, seconds: int, out: Path) -> None:
    """Fuzz one target in this process, which atheris ends."""
    import atheris

    packages = ["bfm_assets", "synergy", "eval", "train", "pickle", "zipfile", "tarfile"]
    with atheris.instrument_imports(include=packages):
        from fuzz.targets import TARGETS, scratch_folder
    target = TARGETS[name]

    def read(content: bytes) -> None:
        try:
            target.read(content, Path(scratch))
        # libFuzzer may not get to write the input, because its timer can end the process first.
        except BaseException:
            (out / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}").write_bytes(content)
            raise

    out.mkdir(parents=True, exist_ok=True)
    # A crash of a library in C would write gigabytes.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with scratch_folder() as scratch, scratch_folder() as corpus:
        seeds = target.seeds()
        for i, seed in enumerate(seeds):
            Path(corpus, str(i)).write_bytes(seed)
            # Packages that are imported late do not count as the time of an input.
            target.read(seed, Path(scratch))
        options = [
            f"-max_total_time={seconds}",
            f"-timeout={_SECONDS_PER_INPUT}",
            f"-rss_limit_mb={_MEMORY_MB}",
            "-len_control=0",
            f"-max_len={2 * max(map(len, seeds))}",
            f"-artifact_prefix={out}/{name}-",
            "-print_final_stats=1",
            corpus,
        ]
        atheris.Setup([sys.argv[0], *options], read)
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
