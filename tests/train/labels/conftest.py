"""Faces whose truth is known: the open face, projected."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bfm_assets import MorphableModel, open_face
from train.labels.evidence import evidence_matrix
from train.labels.fit import Basis, Faces, rotation_from_vector


@dataclass
class Truth:
    """Faces in image pixels, y up, and their evidence points (N, P, 3)."""

    basis: Basis
    faces: Faces

    @property
    def points(self) -> torch.Tensor:
        return self.faces.points(self.basis)


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
def basis(few_modes) -> Basis:
    return Basis.of(few_modes, evidence_matrix())


@pytest.fixture
def make_truth(basis):
    """Random faces: `make_truth(n, yaw_deg)` with yaws drawn evenly within +-yaw_deg."""

    def make(n: int, yaw_deg: float = 40.0, seed: int = 0) -> Truth:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> torch.Tensor:
            return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1

        turn = torch.stack([draw(n) * 0.2, draw(n) * np.deg2rad(yaw_deg), draw(n) * 0.3], -1)
        k = basis.modes.shape[-1]
        faces = Faces(
            rotation_from_vector(turn),
            (100 * (1 + 0.3 * draw(n))).log(),
            torch.cat([100 + 20 * draw(n, 2) * torch.tensor([1.0, -1.0]), torch.zeros(n, 1)], -1)
            * torch.tensor([1.0, -1.0, 1.0]),
            torch.randn(n, k, generator=generator, dtype=torch.float64),
        )
        return Truth(basis, faces)

    return make


@pytest.fixture
def flat():
    """`flat(points, noise, hidden)`: 2D labels of points (N, P, 3), `noise` px off, a share `hidden` unknown."""

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
