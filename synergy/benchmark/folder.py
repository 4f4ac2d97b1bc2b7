"""`synergy predict` over folders of many photos: time per photo, and memory, in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from synergy.benchmark.photo import make_photo
from synergy.errors import UserError


@dataclass(frozen=True)
class FolderRun:
    """One run of `synergy predict`.

    Attributes:
        images: number of photos.
        seconds: wall time, including the start of the process.
        peak_mib: largest memory of the process in MiB.
    """

    images: int
    seconds: float
    peak_mib: float

    @property
    def per_second(self) -> float:
        """Photos per second."""
        return self.images / self.seconds


def measure_folder(images: int, model: str, arguments: tuple[str, ...] = ()) -> FolderRun:
    """Predict a folder of photos of 640 x 480 pixels with one face each, and write their numbers.

    Args:
        images: number of photos.
        model: the option `--model`.
        arguments: further options of `synergy predict`.

    Raises:
        UserError: the command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        first = photos / "000000.jpg"
        first.write_bytes(make_photo())
        for i in range(1, images):
            shutil.copyfile(first, photos / f"{i:06d}.jpg")
        command = [sys.executable, "-m", "synergy", "predict", str(photos), "--out", f"{folder}/out"]
        command += ["--format", "json", "--model", model, *arguments]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None  # it is a pipe
            message = process.stderr.read().decode(errors="replace").strip()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        if process.returncode:
            raise UserError(f"synergy predict failed: {message.splitlines()[-1] if message else process.returncode}")
    per_mib = 2**20 if sys.platform == "darwin" else 2**10
    return FolderRun(images, seconds, usage.ru_maxrss / per_mib)
