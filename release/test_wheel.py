"""Build sdist and wheel, install them in fresh environments, and run the commands of README.md: `make test-wheel`.

Everything runs in a temporary folder, outside the repository. What is checked:

1. The wheel is built from the sdist, so the sdist is complete. The wheel holds the model card, the licences and the
   weights.
2. The wheel with its extras, in a fresh environment: every `synergy` command of README.md that needs no data set, no
   camera and no file of another project, and the Python example.
3. The `pip install` line of README.md, in another fresh environment, where libGL is hidden as on a server: the error
   is one line that says what to install. After the two commands of README.md for servers, prediction works.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "bfm,demo,eval,onnx,train,video"
# Commands of README.md with these texts are not run, for this reason.
SKIPPED = {
    "synergy app": "runs until it is stopped",
    "--camera": "needs a camera",
    "3ddfa_v2:FILE": "needs files of another project",
    "eval aflw2000-3d": "needs a data set",
    "label build": "needs a data set",
}
IN_WHEEL = (
    "licenses/MODEL_CARD.md",
    "licenses/LICENSE",
    "licenses/NOTICE",
    "synergynet.safetensors",
    "synergynet_small.safetensors",
    "open_face.npz",
)
# Makes what the commands read: a photo, a folder of photos and a short video of the photo.
INPUTS = """
import numpy as np, skimage.data
from PIL import Image
from pathlib import Path
import av
photo = skimage.data.astronaut()
Path("photos").mkdir()
for path in ("photo.jpg", "photos/a.jpg", "photos/b.png"):
    Image.fromarray(photo).save(path)
with av.open("clip.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=10)
    stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
    for shift in range(5):
        frame = np.ascontiguousarray(photo[:256, 100 + shift : 356 + shift])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    container.mux(stream.encode(None))
"""


def main() -> int:
    """Run all checks; the first one that fails ends the program."""
    parser = argparse.ArgumentParser(prog="python -m release.test_wheel", description=__doc__.partition("\n")[0])
    parser.add_argument("--keep", type=Path, help="folder for the built packages; removed at the end by default")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="synergy-release-") as name:
        folder = Path(name)
        dist = (options.keep or folder / "dist").resolve()
        if any(dist.glob("*.whl")):
            raise SystemExit(f"{dist} has a wheel already; choose another folder")
        wheel = _build(folder, dist)
        _check_wheel(wheel, folder)
        _check_server(folder)
    print("all checks passed", flush=True)
    return 0


def readme_commands(text: str) -> tuple[list[str], dict[str, str]]:
    """Return the `synergy` commands of the README that are run, and those that are not with the reason."""
    commands = [line.partition("#")[0].strip() for line in text.splitlines() if line.startswith("    synergy ")]
    skipped = {line: reason for line in commands for words, reason in SKIPPED.items() if words in line}
    return [line for line in commands if line not in skipped], skipped


def readme_python(text: str) -> str:
    """Return the Python example of the README."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def readme_install(text: str) -> tuple[str, list[str]]:
    """Return the README's line that installs the package, and its lines for a server without libGL."""
    lines = [line.strip().partition(" #")[0].strip() for line in text.splitlines() if line.startswith("    pip ")]
    server = [line for line in lines if "opencv" in line]
    install = next(line for line in lines if line.endswith("-e ."))
    return install, server


def _build(folder: Path, dist: Path) -> Path:
    """Build the sdist, and the wheel from it; check what the wheel holds."""
    tools = _environment(folder / "tools")
    _run([tools / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", "build"], folder)
    _run([tools / "python", "-m", "build", "--outdir", dist, ROOT], folder)
    wheel = next(dist.glob("*.whl"))
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    missing = [wanted for wanted in IN_WHEEL if not any(name.endswith(wanted) for name in names)]
    if missing:
        raise SystemExit(f"{wheel.name} lacks {', '.join(missing)}")
    foreign = {name.partition("/")[0] for name in names} - {"synergy", "bfm_assets", "train", "eval"}
    if any(not name.endswith(".dist-info") for name in foreign):
        raise SystemExit(f"{wheel.name} holds {', '.join(sorted(foreign))}")
    return wheel


def _check_wheel(wheel: Path, folder: Path) -> None:
    """Install the wheel with its extras, and run the README's commands and its Python example in another folder."""
    programs = _environment(folder / "wheel")
    _run([programs / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", f"{wheel}[{EXTRAS}]"], folder)
    work = folder / "work"
    work.mkdir()
    text = (ROOT / "README.md").read_text()
    _run([programs / "python", "-c", INPUTS], work)
    commands, skipped = readme_commands(text)
    for command, reason in skipped.items():
        print(f"not run: {command} ({reason})", flush=True)
    for command in commands:
        program, *words = shlex.split(command)
        _run([programs / program, *words], work)
    _run([programs / "python", "-c", readme_python(text)], work)


def _check_server(folder: Path) -> None:
    """Follow the README on a server: without libGL, by its `pip install` line and its commands for servers."""
    programs = _environment(folder / "server")
    install, server = readme_install((ROOT / "README.md").read_text())
    _run([programs / "python", "-m", *shlex.split(install)], ROOT)
    work, hidden = folder / "server-work", folder / "without-libgl"
    work.mkdir()
    hidden.mkdir()
    # The loader stops at the first file of the wanted name, and an empty file is no library.
    (hidden / "libGL.so.1").touch()
    (work / "photo.py").write_text("from PIL import Image\nImage.new('RGB', (64, 64)).save('photo.jpg')\n")
    _run([programs / "python", "photo.py"], work)
    command: list[str | Path] = [programs / "synergy", "predict", "photo.jpg", "--format", "json,overlay"]
    refused = subprocess.run(command, cwd=work, env=_variables(hidden), capture_output=True, text=True, check=False)
    if refused.returncode != 2 or "opencv-python-headless" not in refused.stderr or "Traceback" in refused.stderr:
        raise SystemExit(f"without libGL: status {refused.returncode}, {refused.stderr}")
    print(f"without libGL: {refused.stderr.strip()}", flush=True)
    if not server:
        raise SystemExit("README.md has no commands for servers")
    for line in server:
        _run([programs / "python", "-m", *shlex.split(line)], ROOT)
    _run(command, work, _variables(hidden))


def _environment(folder: Path) -> Path:
    """Create a virtual environment and return the folder of its programs."""
    venv.create(folder, with_pip=True)
    return folder / ("Scripts" if os.name == "nt" else "bin")


def _variables(hidden: Path | None = None) -> dict[str, str]:
    """Return the environment variables of a check: nothing of the repository is on Python's path."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return kept | {"WANDB_MODE": "offline"} | ({} if hidden is None else {"LD_LIBRARY_PATH": str(hidden)})


def _run(command: Sequence[str | Path], folder: Path, variables: dict[str, str] | None = None) -> None:
    """Run a command, and end the program if it fails."""
    words = [Path(command[0]).name, *map(str, command[1:])]
    shown = " ".join(word if len(word) < 200 else "..." for word in words)
    print(f"$ {shown}", flush=True)
    done = subprocess.run(
        command, cwd=folder, env=variables or _variables(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"failed with status {done.returncode}: {shown}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")


if __name__ == "__main__":
    sys.exit(main())
