import cv2
import numpy as np
import pytest
import torch

from synergy.crop import affine_scale, invert_affine, landmark_box, square_crop, transform_points, warp
from synergy.upright import rotate_crop


def test_the_square_is_centred_and_sqrt2_of_the_longer_side():
    affine = square_crop(np.array([10.0, 20.0, 110.0, 70.0]), size=120)
    side = 2**0.5 * 100
    corners = np.array([[60 - side / 2, 45 - side / 2], [60 + side / 2, 45 + side / 2], [60, 45]])
    # Pixel centres at integers: the crop's edges are at -0.5 and 119.5, its middle at 59.5.
    np.testing.assert_allclose(transform_points(affine, corners), [[-0.5, -0.5], [119.5, 119.5], [59.5, 59.5]])


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_inverse_is_exact_over_any_batch_shape(shape):
    rng = np.random.default_rng(0)
    corner = rng.uniform(-50, 500, (*shape, 2))
    affine = square_crop(np.concatenate([corner, corner + rng.uniform(5, 300, (*shape, 2))], -1), 120)
    points = rng.normal(size=(*shape, 68, 3)) * 100
    back = transform_points(invert_affine(affine), transform_points(affine, points))
    np.testing.assert_allclose(back, points, atol=1e-9)


def test_z_scales_with_the_crop():
    affine = square_crop(np.array([0.0, 0.0, 60.0, 60.0]), 120)
    assert transform_points(affine, np.array([[0.0, 0.0, 1.0]]))[0, 2] == pytest.approx(affine_scale(affine))


def test_landmark_box_ignores_unknown_points():
    points = np.array([[3.0, 9.0, 0], [np.nan, np.nan, 0], [5.0, 1.0, 0]])
    np.testing.assert_allclose(landmark_box(points), [3, 1, 5, 9])


@pytest.mark.parametrize("degrees", [0, 45, 90, -160])
@pytest.mark.parametrize("side", [30, 85, 200, 350, 1000])
def test_image_and_points_move_together(side, degrees):
    """A blurred dot lands where its coordinates are mapped, whether the crop enlarges, shrinks or rotates."""
    y, x = np.mgrid[:1200, :1200]
    dot = np.array([500.0, 620.0])
    image = 255 * np.exp(-((x - dot[0]) ** 2 + (y - dot[1]) ** 2) / (2 * (side / 15) ** 2))
    image = np.repeat(image.astype(np.uint8)[..., None], 3, -1)
    centre = dot + side * np.array([0.11, -0.07])
    affine = rotate_crop(square_crop(np.concatenate([centre - side / 2, centre + side / 2]), 120), degrees, 120)
    crop = warp(image, affine, 120)[..., 0].astype(float)
    rows, columns = np.mgrid[:120, :120]
    found = np.array([(columns * crop).sum(), (rows * crop).sum()]) / crop.sum()
    np.testing.assert_allclose(found, transform_points(affine, dot[None])[0], atol=0.15)


@pytest.mark.parametrize("side", [30, 85])
def test_long_images_are_not_given_to_opencv_as_a_whole(monkeypatch, side):
    """OpenCV 4 refuses to warp images with a side of more than 32,766 pixels."""
    image = np.random.default_rng(0).integers(0, 256, (60, 40_000, 3), dtype=np.uint8)
    affine = square_crop(np.array([39_000.0, 20.0, 39_000.0 + side, 40.0]), 120)
    shift = np.array([38_000, 0])
    moved = np.concatenate([affine[:, :2], affine[:, 2:] + affine[:, :2] @ shift[:, None]], 1)
    expected = warp(image[:, 38_000:], moved, 120)

    def warp_affine(image, *arguments, **options):
        assert max(image.shape) < 2**15 - 1
        return real(image, *arguments, **options)

    real = cv2.warpAffine
    monkeypatch.setattr(cv2, "warpAffine", warp_affine)
    np.testing.assert_allclose(warp(image, affine, 120).astype(int), expected, atol=2)


def test_outside_the_image_is_zero():
    crop = warp(np.full((50, 50, 3), 200, np.uint8), square_crop(np.array([-40.0, -40.0, 20.0, 20.0]), 120), 120)
    assert crop[0, 0].tolist() == [0, 0, 0]
    assert crop[-1, -1].tolist() == [200, 200, 200]


def test_shrinking_averages_instead_of_aliasing():
    """One-pixel stripes become grey; plain bilinear sampling would keep stripes."""
    image = np.zeros((1000, 1000, 3), np.uint8)
    image[:, ::2] = 255
    crop = warp(image, square_crop(np.array([150.0, 150.0, 850.0, 850.0]), 120), 120)
    assert np.abs(crop[10:-10, 10:-10].astype(int) - 127).max() < 20


def test_tensors_and_arrays_are_mapped_alike():
    rng = np.random.default_rng(0)
    affine = rng.normal(size=(4, 2, 3))
    affine[0, :, 0] *= -1  # the map of one of them mirrors
    points = rng.normal(size=(4, 68, 3))
    expected = np.einsum("bij,bnj->bni", affine[..., :2], points[..., :2]) + affine[:, None, :, 2]
    area = np.abs(np.linalg.det(affine[..., :2]))
    mapped = transform_points(affine, points)
    np.testing.assert_allclose(mapped[..., :2], expected)
    np.testing.assert_allclose(mapped[..., 2], points[..., 2] * np.sqrt(area)[:, None])
    np.testing.assert_allclose(transform_points(torch.from_numpy(affine), torch.from_numpy(points)).numpy(), mapped)
