"""Build the browser example: a folder that any static host can serve.

    python examples/web/build.py
    python -m http.server --directory examples/web/dist

It holds the page, the detector, the network with its description and morphable model, and onnxruntime-web.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from synergy.deploy.detector import write_detector
from synergy.errors import UserError

HERE = Path(__file__).parent
PAGE = ("index.html", "style.css", "main.js", "model.js", "image.js", "detector.js", "network.js", "draw.js")
ONNXRUNTIME_WEB = "onnxruntime-web@1.30.0"
# The parts of onnxruntime-web that run models on the CPU.
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
TERMS = ("LICENSE", "NOTICE", "MODEL_CARD.md")


def build(out: Path, runtime: Path | None = None, model: str | None = None) -> None:
    """Write the folder.

    Args:
        out: the folder, which is created. Files of an earlier build are replaced.
        runtime: npm package file of onnxruntime-web. By default `npm pack` downloads it.
        model: `--model` of `synergy export`.

    Raises:
        UserError: onnxruntime-web cannot be had, or the network cannot be exported.
    """
    for folder in (out, out / "models", out / "vendor"):
        folder.mkdir(parents=True, exist_ok=True)
    for name in PAGE:
        shutil.copy(HERE / name, out)
    for name in TERMS:
        shutil.copy(HERE.parent.parent / name, out)
    with tempfile.TemporaryDirectory() as folder:
        _unpack_runtime(_download_runtime(Path(folder)) if runtime is None else runtime, out / "vendor")
    write_detector(out / "models" / "centerface.onnx")
    command = [sys.executable, "-m", "synergy", "export", "onnx", "--out", str(out / "models" / "face.onnx")]
    if subprocess.run([*command, *([] if model is None else ["--model", model])], check=False).returncode:
        raise UserError("the network could not be exported")


def _download_runtime(folder: Path) -> Path:
    """Download onnxruntime-web's npm package into a folder and return its path."""
    npm = shutil.which("npm")
    advice = f"download the npm package {ONNXRUNTIME_WEB} elsewhere and give it as --onnxruntime-web FILE.tgz"
    if npm is None:
        raise UserError(f"npm is not installed: install Node.js, or {advice}")
    command = [npm, "pack", "--prefer-offline", "--silent", "--pack-destination", str(folder), ONNXRUNTIME_WEB]
    try:
        subprocess.run(command, check=True, timeout=300, capture_output=True)
        return next(folder.glob("*.tgz"))
    except (subprocess.SubprocessError, StopIteration):
        raise UserError(f"npm cannot download {ONNXRUNTIME_WEB}: {advice}") from None


def _unpack_runtime(package: Path, out: Path) -> None:
    """Copy the files of `RUNTIME` out of an npm package into a folder."""
    try:
        with tarfile.open(package) as archive:
            for name in RUNTIME:
                member = archive.extractfile(f"package/dist/{name}")
                if member is None:
                    raise KeyError(name)
                (out / name).write_bytes(member.read())
    except FileNotFoundError:
        raise UserError(f"{package}: there is no such file") from None
    except (KeyError, OSError, EOFError, tarfile.TarError):
        raise UserError(f"{package}: not the npm package {ONNXRUNTIME_WEB}, or it is damaged") from None


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description="Build the browser example into a folder for a static host.")
    parser.add_argument("--out", type=Path, default=HERE / "dist", help="the folder (default: %(default)s)")
    parser.add_argument("--onnxruntime-web", type=Path, metavar="FILE.tgz", help="its npm package, if npm cannot run")
    parser.add_argument("--model", help="as --model of synergy export (default: the bundled network)")
    arguments = parser.parse_args()
    try:
        build(arguments.out, arguments.onnxruntime_web, arguments.model)
    except UserError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"written: {arguments.out}. Show it: python -m http.server --directory {arguments.out}\n")


if __name__ == "__main__":
    main()
