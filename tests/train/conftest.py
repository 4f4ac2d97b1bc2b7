"""What tests of training share: a fake pack with exact labels, and faces and annotations with known truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from kornia.geometry.conversions import axis_angle_to_rotation_matrix

from bfm_assets import MorphableModel, open_face
from synergy.camera import project_plain
from synergy.geometry import compose_pose, euler_to_matrix
from synergy.landmarks import FLIP68
from train.annotate.faces import FaceParameters, PointModel
from train.annotate.observations import observation_matrix
from train.packs.pack import PackWriter

SIDE = 120


def _symmetric_model(seed: int = 0, n_shape: int = 6, n_expression: int = 4) -> MorphableModel:
    """A random landmark-only model that is its own mirror image: half of its modes symmetric, half antisymmetric."""
    rng = np.random.default_rng(seed)
    reflect = np.array([-1.0, 1.0, 1.0])

    def fold(points: np.ndarray, sign: float = 1.0) -> np.ndarray:
        return (points + sign * points[FLIP68] * reflect) / 2

    signs = [1, -1] * 10
    mean = fold(rng.normal(size=(68, 3)) * 10)
    modes = [fold(rng.normal(size=(68, 3)), signs[i]) for i in range(n_shape + n_expression)]
    basis = np.stack(modes, -1).astype(np.float32)
    return MorphableModel(
        name="symmetric",
        licence="CC0",
        mean=mean.astype(np.float32),
        shape_basis=basis[..., :n_shape],
        shape_std=np.ones(n_shape, np.float32),
        expression_basis=basis[..., n_shape:],
        expression_std=np.ones(n_expression, np.float32),
        triangles=np.empty((0, 3), np.int32),
        landmarks=np.arange(68, dtype=np.int32),
    )


def _project(model: MorphableModel, params: torch.Tensor) -> torch.Tensor:
    """Landmarks (B, 68, 3) of parameters, written independently of the network."""
    basis = torch.cat([torch.from_numpy(model.shape_basis), torch.from_numpy(model.expression_basis)], -1)
    vertices = torch.from_numpy(model.mean) + torch.einsum("vck,bk->bvc", basis, params[:, 12:])
    points = project_plain(vertices, params[:, :12], SIDE)
    return points - points.mean(1, keepdim=True) * torch.tensor([0.0, 0.0, 1.0])


@pytest.fixture(scope="session")
def symmetric() -> MorphableModel:
    return _symmetric_model()


@pytest.fixture(scope="session")
def project(symmetric: MorphableModel) -> Callable[[torch.Tensor], torch.Tensor]:
    """Landmarks (B, 68, 3) in crop pixels of parameters of the symmetric model."""
    return partial(_project, symmetric)


@pytest.fixture(scope="session")
def model_file(symmetric: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "symmetric.npz"
    symmetric.save(path)
    return path


@pytest.fixture(scope="session")
def pack(symmetric: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 training and 8 validation samples; the brightness of each picture tells its yaw."""
    path = tmp_path_factory.mktemp("packs") / "fake"
    rng = np.random.default_rng(0)
    n = 72
    pose_deg = rng.normal(size=(n, 3)) * [10, 30, 10]
    angles = torch.from_numpy(np.radians(pose_deg)).float()
    translation = torch.tensor([60.0, 60.0, 0.0]).expand(n, 3)
    pose = compose_pose(torch.full((n,), 1.7), euler_to_matrix(angles), translation)
    params = torch.cat([pose, torch.from_numpy(rng.normal(size=(n, 10))).float()], -1)
    landmarks = _project(symmetric, params).numpy()
    split = np.array(["train"] * 64 + ["val"] * 8)
    noise = rng.normal(0, 5, (n, SIDE, SIDE, 3))
    columns = {
        "image": np.clip(128 + pose_deg[:, 1, None, None, None] + noise, 0, 255).astype(np.uint8),
        "names": np.array([f"{i}.jpg" for i in range(n)]),
        "sources": np.where(split == "val", "helen_test", "fake"),
        "split": split,
        "landmarks68": landmarks,
        "visibility68": np.full((n, 68), 2),
        "params": params.numpy(),
        "pose_deg": pose_deg,
        "weight": np.ones(n),
        "residual": np.full(n, np.nan),
        "annotated68": landmarks[..., :2],
        "annotated21": np.full((n, 21, 2), np.nan),
        "teacher68": np.full((n, 68, 3), np.nan),
        "identity": np.full(n, -1),
        "attributes": np.full((n, 9), -1),
        "blendshapes": np.full((n, 52), np.nan),
        "crop": np.tile([0.0, 0.0, 1.0], (n, 1)),
    }
    writer = PackWriter(path, {"test": 1})
    writer.write(0, [{name: column[i] for name, column in columns.items()} for i in range(n)])
    writer.finish({"model": symmetric.name, "model_digest": symmetric.digest})
    return path


@dataclass
class Truth:
    """Faces in image pixels, y up, and their observed points (N, P, 3)."""

    model: PointModel
    faces: FaceParameters

    @property
    def points(self) -> torch.Tensor:
        return self.faces.project(self.model)


@pytest.fixture(scope="session")
def few_modes() -> MorphableModel:
    """The open face's landmarks with 10 shape and 5 expression modes: small enough for tight bounds."""
    model = open_face().landmark_model()
    return replace(
        model,
        shape_basis=model.shape_basis[..., :10].copy(),
        shape_std=model.shape_std[:10],
        expression_basis=model.expression_basis[..., :5].copy(),
        expression_std=model.expression_std[:5],
        expression_names=(),
    )


@pytest.fixture(scope="session")
def point_model(few_modes) -> PointModel:
    return PointModel.create(few_modes, observation_matrix())


@pytest.fixture
def make_truth(point_model):
    """Random faces: `make_truth(n, yaw_deg)` with yaws drawn evenly within +-yaw_deg."""

    def make(n: int, yaw_deg: float = 40.0, seed: int = 0) -> Truth:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> torch.Tensor:
            return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1

        angles = torch.stack([draw(n) * 0.2, draw(n) * np.deg2rad(yaw_deg), draw(n) * 0.3], -1)
        k = point_model.n_coefficients
        faces = FaceParameters(
            axis_angle_to_rotation_matrix(angles),
            (100 * (1 + 0.3 * draw(n))).log(),
            torch.cat([100 + 20 * draw(n, 2) * torch.tensor([1.0, -1.0]), torch.zeros(n, 1)], -1)
            * torch.tensor([1.0, -1.0, 1.0]),
            torch.randn(n, k, generator=generator, dtype=torch.float64),
        )
        return Truth(point_model, faces)

    return make


@pytest.fixture
def flat():
    """`flat(points, noise, hidden)`: 2D annotations with noise in px, of which a fraction `hidden` is unknown."""

    def make(points: torch.Tensor, noise: float = 0.0, hidden: float = 0.0, seed: int = 1) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        out = points + noise * torch.randn(points.shape, generator=generator, dtype=points.dtype)
        out[..., 2] = torch.nan
        out[torch.rand(points.shape[:2], generator=generator) < hidden] = torch.nan
        return out

    return make


@pytest.fixture
def pts_folder(tmp_path, make_truth):
    """A folder of 6 smooth random 200x200 images with .pts files, and the true landmarks (6, 68, 3), y down."""

    def make(name: str = "photos") -> tuple[Path, np.ndarray]:
        folder = tmp_path / name
        folder.mkdir()
        landmarks = make_truth(6, yaw_deg=30).points[:, :68].numpy() * [1, -1, 1]
        rng = np.random.default_rng(0)
        for i, points in enumerate(landmarks):
            coarse = rng.integers(0, 255, (25, 25, 3), np.uint8)
            cv2.imwrite(str(folder / f"face{i}.png"), cv2.resize(coarse, (200, 200), interpolation=cv2.INTER_CUBIC))
            rows = "\n".join(f"{x + 1:.4f} {y + 1:.4f}" for x, y in points[:, :2])
            (folder / f"face{i}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")
        return folder, landmarks

    return make
