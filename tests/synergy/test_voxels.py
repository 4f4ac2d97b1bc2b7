"""The compact volumes against direct evaluation of their definition."""

import time

import numpy as np
import pytest
import torch

from synergy import voxels

RNG = np.random.default_rng(0)


def direct(points: np.ndarray, depth: int) -> np.ndarray:
    """The volume (D, 64, 64) of points (P, 3), voxel by voxel."""
    z, y, x = np.mgrid[:depth, :64, :64]
    volume = np.zeros((depth, 64, 64))
    for px, py, pz in np.floor(points + 0.5):
        near = (abs(x - px) <= 3) & (abs(y - py) <= 3) & (abs(z - pz) <= 3)
        value = np.exp(-((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2) / 2)
        volume = np.maximum(volume, value * near)
    return volume


def faces(n: int) -> torch.Tensor:
    """Landmarks (n, 68, 3) within a box of 100 x 120 px about (150, 160)."""
    points = RNG.uniform(-1, 1, (n, 68, 3)) * [50, 60, 40] + [150, 160, 0]
    points[:, 0, 0], points[:, 1, 0] = 100, 200
    return torch.from_numpy(points)


@pytest.mark.parametrize("depth", voxels.DEPTHS)
def test_encoder_against_the_definition(depth: int) -> None:
    points = RNG.uniform(-6, 70, (1, 12, 3)) * [1, 1, depth / 64]  # some lie outside, with tails that reach in
    volumes = voxels.encode(torch.from_numpy(points), depth).numpy()
    assert volumes.shape == (1, depth, 64, 64)
    for volume, p in zip(volumes, points, strict=True):
        assert volume == pytest.approx(direct(p, depth), abs=1e-6)


def test_the_place_of_the_volume_by_hand() -> None:
    # Box 100 wide: side 125 px, 64 voxels. The box's left edge lies 50 px left of the middle: 31.5 - 50 * 64 / 125.
    points = faces(1)
    points[0, 2, 1], points[0, 3, 1] = 100, 220
    frame = voxels.volume_frame(points)
    assert frame.side.tolist() == [125]
    assert frame.centre.tolist() == [[150, 160]]
    at = voxels.to_voxels(points, frame, 64)
    assert at.shape == (1, 71, 3)
    assert float(at[0, 0, 0]) == pytest.approx(31.5 - 50 * 64 / 125)
    assert float(at[0, :68, 2].mean()) == pytest.approx(31.5)
    flat = voxels.to_voxels(points, frame, 1)
    assert (voxels.nearest_voxels(flat)[..., 2] == 0).all()  # the whole face is in the one layer


def test_voxels_and_pixels_are_inverse() -> None:
    points = faces(3)
    frame = voxels.volume_frame(points)
    back = voxels.from_voxels(voxels.to_voxels(points, frame, 64), frame, 64)[:, :68]
    centred = points - points[..., 2].mean(1)[:, None, None] * torch.tensor([0, 0, 1])
    assert torch.allclose(back, centred)


def test_planes_are_numbered_towards_the_camera() -> None:
    points = faces(1)
    points[0, :, 2] = 0
    points[0, 30, 2] = 40  # the tip of the nose
    volume = voxels.encode(voxels.to_voxels(points, voxels.volume_frame(points), 64)[:, [30]], 64)
    assert int(volume[0].amax((1, 2)).argmax()) > 32


def test_the_three_centres() -> None:
    points = faces(1)
    extra = voxels.append_centres(points)[0, 68:].numpy()
    p = points[0].numpy()
    # 1-based: 38, 39, 41, 42; 44, 45, 47, 48; 63, 67.
    expected = [np.mean([p[i - 1] for i in group], 0) for group in ([38, 39, 41, 42], [44, 45, 47, 48], [63, 67])]
    assert extra == pytest.approx(np.array(expected))


def test_volume_errors_by_hand() -> None:
    a, b = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    a[0, 0, 0, :2], b[0, 0, 0, 1:3] = torch.tensor([1.0, 0.5]), torch.tensor([1.0, 1.0])
    mse, overlap = voxels.volume_errors(a, b)
    assert float(mse) == pytest.approx((1 + 0.25 + 1) / 4096)
    assert float(overlap) == pytest.approx(0.5 / 3)
    assert float(voxels.volume_errors(a, a)[1]) == pytest.approx(1)


@pytest.mark.slow  # depends on the speed of the processor
def test_encoding_2000_faces_is_quick() -> None:
    """2,000 faces may take 30 s on two cores. The processor time of 100 faces is measured here."""
    points = faces(100)
    frame = voxels.volume_frame(points)
    # One thread: threads that wait for a busy core would be counted as work.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        started = time.process_time()
        for depth in voxels.DEPTHS:
            for part in voxels.to_voxels(points, frame, depth).split(25):
                voxels.encode(part, depth)
        spent = time.process_time() - started
    finally:
        torch.set_num_threads(threads)
    assert spent * 20 < 30
