"""The tutorials of docs/tutorials: their commands and programs run one after the other, as a reader would run them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from scipy.spatial.transform import Rotation

from synergy.cli import main
from synergy.geometry import euler_to_matrix
from synergy.images import read_image, write_image

TUTORIALS = Path(__file__).parents[1] / "docs" / "tutorials"
SHOWN_ONLY = {"console", "text", "json"}

# Each tutorial, and files that a reader has at its end.
CASES = {
    "predict.md": ["out/photo.jpg_overlay.jpg", "out/photo.jpg_0.glb", "out/predictions.csv", "frontal.json"],
    "fit.md": ["landmarks/photo.jpg_0.pts", "face.ply"],
    "uncertainty.md": [],
    "bfm.md": ["bfm2017.npz"],
    "video.md": ["tracked/clip.mp4_1.glb", "tracked/predictions.csv"],
    "label.md": ["pack/manifest.json", "pack2/manifest.json"],
    "train.md": ["mine.safetensors", "with_mine/predictions.json"],
    "compare.md": ["ours.json", "theirs.json"],
    "export.md": ["face.onnx.json", "face.bases.bin", "exported/predictions.json"],
}
FAST = ("predict.md", "fit.md", "uncertainty.md", "bfm.md")


def test_every_tutorial_is_run() -> None:
    assert {*CASES, "index.md"} == {path.name for path in TUTORIALS.glob("*.md")}


@pytest.mark.parametrize("page", [pytest.param(p, marks=() if p in FAST else pytest.mark.slow) for p in CASES])
def test_tutorial(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    PREPARE.get(page, _photo)()
    variables: dict[str, object] = {"__name__": page}
    for language, code, line in _blocks(TUTORIALS / page):
        if language == "python":
            exec(compile("\n" * line + code, page, "exec"), variables)  # noqa: S102
        elif language == "sh":
            for command in code.replace("\\\n", " ").splitlines():
                _run(shlex.split(command, comments=True), monkeypatch)
        else:
            assert language in SHOWN_ONLY, f"{page}, line {line}: a block of '{language}' is neither run nor shown only"
    for result in CASES[page]:
        assert (tmp_path / result).stat().st_size > 0


def test_the_faq_gives_the_angles_of_other_projects() -> None:
    page = TUTORIALS.parent / "faq.md"
    (code,) = [code for language, code, _ in _blocks(page) if language == "python" and "angles_3ddfa_v2" in code]
    variables: dict[str, Any] = {}
    exec(compile(code, str(page), "exec"), variables)  # noqa: S102
    ours = np.radians(np.random.default_rng(0).uniform(-40, 40, (50, 3)))
    matrices = euler_to_matrix(torch.from_numpy(ours)).numpy()
    for (pitch, _, roll), matrix in zip(np.degrees(ours), matrices, strict=True):
        # 3DDFA_V2: rotations about the fixed axes x, y, z by the right-hand rule, and the yaw with the other sign.
        x, y, z = Rotation.from_matrix(matrix).as_euler("xyz", degrees=True)
        np.testing.assert_allclose(variables["angles_3ddfa_v2"](matrix), [-y, x, z], atol=1e-6)
        np.testing.assert_allclose(variables["angles_synergynet"](matrix), [-y, pitch, roll], atol=1e-6)
    straight = euler_to_matrix(torch.tensor([0.0, 0.5, 0.0])).numpy()
    for angles in (variables["angles_3ddfa_v2"], variables["angles_synergynet"]):
        np.testing.assert_allclose(angles(straight), np.degrees([0.5, 0, 0]), atol=1e-5)


def _blocks(path: Path) -> list[tuple[str, str, int]]:
    """Return language, code and line of the fenced blocks of a page."""
    tokens = MarkdownIt().parse(path.read_text(encoding="utf-8"))
    fences = [token for token in tokens if token.type == "fence"]
    assert fences, path
    return [(token.info, token.content, token.map[0] + 1) for token in fences if token.map]


def _run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a `synergy` command in this process."""
    assert arguments[0] == "synergy", arguments
    monkeypatch.setattr(sys, "argv", arguments)
    try:
        main()
    except SystemExit as end:
        assert not end.code, arguments  # noqa: PT017


def _photo() -> None:
    photo = read_image(str(files("skimage") / "data" / "astronaut.png"))
    write_image("photo.jpg", photo)


def _bfm2017() -> None:
    """Write a small file of random numbers in the layout of BFM 2017, and its keypoints."""
    rng = np.random.default_rng(0)
    n, shape, expression = 90, 4, 3
    triangles = rng.permuted(np.tile(np.arange(n), (60, 1)), axis=1)[:, :3]
    with h5py.File("model2017-1_bfm_nomouth.h5", "w") as file:
        for group, modes in (("shape", shape), ("expression", expression)):
            file[f"{group}/model/mean"] = (rng.normal(size=3 * n) * 40 * (group == "shape")).astype(np.float32)
            file[f"{group}/model/pcaBasis"] = rng.normal(size=(3 * n, modes)).astype(np.float32)
            file[f"{group}/model/pcaVariance"] = np.arange(modes, 0, -1, dtype=np.float32)
        file["color/model/mean"] = rng.uniform(size=3 * n).astype(np.float32)
        file["shape/representer/cells"] = triangles.T.astype(np.uint32)
        file["metadata/landmarks/json"] = "[]"
    Path("keypoints.txt").write_text("\n".join(str(i) for i in range(68)))


PREPARE: dict[str, Callable[[], None]] = {"bfm.md": _bfm2017}
