import numpy as np
import pytest

from bfm_assets import open_face
from synergy.errors import UserError
from synergy.raster import facing, rasterize, rasterize_pytorch3d, rasterizer, vertex_normals
from synergy.sheets import draw_view

SQUARE = np.array([[2, 2, 1], [8, 2, 1], [8, 8, 1], [2, 8, 1]], np.float32)
QUAD = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def soup(n: int = 200, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Random triangles, some of them partly outside."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(-5, size + 5, (n, 1, 3))
    points = (centres + rng.normal(size=(n, 3, 3)) * 6).reshape(-1, 3).astype(np.float32)
    return points, np.arange(3 * n, dtype=np.int32).reshape(n, 3)


def test_a_square_covers_its_pixels():
    fragments = rasterize(SQUARE, QUAD, 10, 10)
    expected = np.zeros((10, 10), bool)
    expected[2:9, 2:9] = True
    np.testing.assert_array_equal(fragments.mask, expected)
    assert fragments.depth[5, 5] == 1
    assert np.isneginf(fragments.depth[0, 0])


def test_larger_z_is_nearer():
    points = np.concatenate([SQUARE, SQUARE + [0, 0, 1]]).astype(np.float32)
    for order in (np.concatenate([QUAD, QUAD + 4]), np.concatenate([QUAD + 4, QUAD])):
        fragments = rasterize(points, order.astype(np.int32), 10, 10)
        assert fragments.depth[5, 5] == 2


def test_barycentrics_reproduce_pixel_positions():
    points, triangles = soup()
    fragments = rasterize(points, triangles, 64, 48)
    assert fragments.mask.mean() > 0.5
    position = fragments.interpolate(points[:, :2], triangles)
    y, x = np.mgrid[:64, :48]
    np.testing.assert_allclose(position[fragments.mask], np.stack([x, y], -1)[fragments.mask], atol=1e-3)


def test_against_a_loop_over_pixels():
    points, triangles = soup(40, 24)
    fragments = rasterize(points, triangles, 24, 24)
    for y in range(24):
        for x in range(24):
            depths = {}
            for f, triangle in enumerate(triangles):
                matrix = np.concatenate([points[triangle, :2].T.astype(float), np.ones((1, 3))])
                weights = np.linalg.solve(matrix, [x, y, 1])
                if (weights >= 0).all():
                    depths[f] = weights @ points[triangle, 2]
            expected = max(depths, key=depths.__getitem__) if depths else -1
            assert fragments.face_index[y, x] == expected


def test_degenerate_and_outside_triangles_draw_nothing():
    points = np.array([[1, 1, 0], [5, 5, 0], [9, 9, 0], [-50, -50, 0], [-40, -50, 0], [-50, -40, 0]], np.float32)
    assert not rasterize(points, np.arange(6, dtype=np.int32).reshape(2, 3), 10, 10).mask.any()
    assert not rasterize(points, np.empty((0, 3), np.int32), 10, 10).mask.any()


def test_facing_is_counter_clockwise_with_y_up():
    # In image space (y down) the same corners run clockwise.
    assert facing(SQUARE * [1, -1, 1], QUAD).tolist() == [True, True]
    assert facing(SQUARE, QUAD).tolist() == [False, False]


@pytest.mark.pytorch3d
@pytest.mark.parametrize("size", [(64, 64), (48, 64), (64, 40)])
def test_both_backends_agree_away_from_edges(size):
    points, triangles = soup()
    ours, theirs = rasterize(points, triangles, *size), rasterize_pytorch3d(points, triangles, *size)
    inside = (ours.barycentric.min(-1) > 1e-3) & (theirs.barycentric.min(-1) > 1e-3) | ~ours.mask & ~theirs.mask
    assert inside.mean() > 0.95
    np.testing.assert_array_equal(ours.face_index[inside], theirs.face_index[inside])
    both = inside & ours.mask
    np.testing.assert_allclose(ours.barycentric[both], theirs.barycentric[both], atol=1e-3)
    np.testing.assert_allclose(ours.depth[both], theirs.depth[both], atol=1e-2)


def test_a_rasterizer_has_a_name(monkeypatch):
    assert rasterizer("builtin") is rasterize
    monkeypatch.setattr("synergy.raster.has_pytorch3d", lambda: True)
    assert rasterizer("pytorch3d") is rasterize_pytorch3d
    monkeypatch.setattr("synergy.raster.has_pytorch3d", lambda: False)
    with pytest.raises(UserError, match="pytorch3d is not installed") as caught:
        rasterizer("pytorch3d")
    assert "\n" not in str(caught.value)


@pytest.mark.pytorch3d
def test_both_backends_draw_the_same_face():
    model = open_face()
    ours, theirs = (draw_view(model, model.mean, 30, 64, rasterizer(name)) for name in ("builtin", "pytorch3d"))
    assert np.abs(ours.astype(int) - theirs).mean() < 1


def test_normals_of_a_sphere_point_outward():
    import trimesh

    sphere = trimesh.creation.icosphere(subdivisions=3)
    # Model space (y up) to image space (y down).
    image_space = sphere.vertices * [1, -1, 1]
    np.testing.assert_allclose(vertex_normals(image_space, sphere.faces), image_space, atol=0.02)
