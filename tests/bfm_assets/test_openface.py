"""The open face: the shipped file, and the builder that makes it."""

import time
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bfm_assets.openface import expressions, head, mesh, rings
from bfm_assets.openface.controls import MIRROR_68, landmarks68
from bfm_assets.openface.deform import vertex_areas
from bfm_assets.openface.frame import to_designed
from bfm_assets.openface.model import open_face
from bfm_assets.openface.proportions import MEASUREMENTS, measure
from bfm_assets.schema import MorphableModel

FILE = Path(__file__).parents[2] / "bfm_assets" / "data" / "open_face.npz"


@pytest.fixture(scope="module")
def face() -> MorphableModel:
    return MorphableModel.load(FILE)


@pytest.fixture(scope="module")
def built() -> head.Head:
    return head.build()


def expression(face: MorphableModel, **strengths: float) -> NDArray[np.float64]:
    """Vertices (V, 3) of the mean face with named expressions."""
    coefficients = np.zeros(face.n_expression)
    for name, strength in strengths.items():
        coefficients[face.expression_names.index(name)] = strength
    return face.vertices(np.zeros(1), coefficients).astype(np.float64)


def random_people(face: MorphableModel, count: int, seed: int = 0) -> NDArray[np.float32]:
    who = np.random.default_rng(seed).normal(size=(count, face.n_shape)) * face.shape_std
    return face.vertices(who, np.zeros(1))


def segments_through(
    start: NDArray[np.float64], end: NDArray[np.float64], corners: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which segments (N, 3) to (N, 3) pass through their triangles (N, 3, 3): Moeller and Trumbore 1997."""
    way, first, second = end - start, corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(way, second)
    volume = (first * across).sum(1)
    crossing = np.abs(volume) > 1e-12
    inverse = 1 / np.where(crossing, volume, 1)
    offset = start - corners[:, 0]
    u = (offset * across).sum(1) * inverse
    turned = np.cross(offset, first)
    v, t = (way * turned).sum(1) * inverse, (second * turned).sum(1) * inverse
    return crossing & (u > 0) & (v > 0) & (u + v < 1) & (t > 0) & (t < 1)


def intersections(vertices: NDArray[np.float64], triangles: NDArray[np.int32]) -> NDArray[np.intp]:
    """Pairs (N, 2) of triangles without a common vertex that pass through each other."""
    corners = vertices[triangles]
    low, high, centre = corners.min(1), corners.max(1), corners.mean(1)
    radius = np.linalg.norm(corners - centre[:, None], axis=2).max(1)
    near = cKDTree(centre).query_ball_point(centre, radius + radius.max())
    first = np.repeat(np.arange(len(triangles)), [len(n) for n in near])
    second = np.concatenate(near).astype(np.intp)
    keep = (second > first) & (low[first] <= high[second]).all(1) & (low[second] <= high[first]).all(1)
    first, second = first[keep], second[keep]
    apart = ~(triangles[first][:, :, None] == triangles[second][:, None]).any((1, 2))
    first, second = first[apart], second[apart]
    hit = np.zeros(len(first), bool)
    for one, other in ((first, second), (second, first)):
        for k in range(3):
            hit |= segments_through(corners[one, k], corners[one, (k + 1) % 3], corners[other])
    return np.column_stack([first[hit], second[hit]])


def test_intersections_are_found() -> None:
    vertices = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0], [1, 1, -1], [1, 1, 1], [2, 1, 1.0]])
    triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    assert len(intersections(vertices, triangles)) == 1
    assert len(intersections(vertices + np.array([[0], [0], [0], [9], [9], [9]]), triangles)) == 0


def test_file_is_small_and_quick_to_load() -> None:
    assert FILE.stat().st_size < 3_000_000
    seconds = []
    for _ in range(5):
        start = time.process_time()
        MorphableModel.load(FILE)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05


def test_shipped_file_is_what_the_builder_builds(face: MorphableModel) -> None:
    made = open_face()
    assert np.array_equal(made.triangles, face.triangles)
    assert np.array_equal(made.landmarks, face.landmarks)
    assert np.abs(made.mean - face.mean).max() < 0.01
    # two builds of numpy may turn a principal component by what rounding allows: compare what the modes span and weigh
    for ours, theirs in zip((made, made.landmark_model()), (face, face.landmark_model()), strict=True):
        if not ours.is_dense:
            scaled = [(m.shape_basis * m.shape_std).reshape(204, -1) for m in (ours, theirs)]
            assert np.abs(scaled[0] @ scaled[0].T - scaled[1] @ scaled[1].T).max() < 0.05
    assert np.abs(made.expression_basis - face.expression_basis).max() < 0.01


def test_size_and_names(face: MorphableModel) -> None:
    assert 3_000 <= face.n_vertices <= 10_000
    assert face.n_shape >= 40
    assert face.n_expression >= 10
    assert face.expression_names == tuple(expressions.EXPRESSIONS)
    assert face.mm_per_unit == 1
    for part in ("skin", "lips", "brows", "sclera", "iris"):
        assert (face.regions == face.region_names.index(part)).sum() > 10


def test_landmarks_are_vertices_in_ibug_order(face: MorphableModel) -> None:
    points = face.mean[face.landmarks]
    assert len(set(face.landmarks.tolist())) == 68
    assert np.abs(to_designed(points) - landmarks68()).max() < 0.3
    assert (np.diff(points[:17, 0]) > 0).all()  # the jaw line runs from x < 0 to x > 0
    assert points[30, 2] == points[:, 2].max()  # the tip of the nose is the nearest
    assert points[8, 1] == points[:, 1].min()  # the chin is the lowest
    assert (points[19, 1] > points[37, 1] > points[41, 1] > points[30, 1] > points[51, 1] > points[57, 1]).all()


def test_mesh_is_exactly_symmetric(face: MorphableModel, built: head.Head) -> None:
    mirror = built.mirror
    assert np.array_equal(mirror[mirror], np.arange(face.n_vertices))
    assert np.array_equal(face.mean[mirror], face.mean * [-1, 1, 1])
    assert np.array_equal(face.landmarks[MIRROR_68], mirror[face.landmarks])
    both = {frozenset(t) for t in face.triangles.tolist()}
    assert both == {frozenset(t) for t in mirror[face.triangles].tolist()}


def test_mesh_is_a_clean_surface(face: MorphableModel) -> None:
    surface = trimesh.Trimesh(face.mean, face.triangles, process=False)
    assert surface.is_winding_consistent
    assert surface.area_faces.min() > 0.05
    edges = np.sort(surface.edges, axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() == 2  # no edge has three triangles
    assert surface.body_count == 3  # the skin and two eyeballs
    assert len(np.unique(face.triangles)) == face.n_vertices
    # rims: the outer border, the inner border of both eyes, the back of both eyeballs
    assert len(trimesh.graph.connected_components(edges[trimesh.grouping.group_rows(edges, require_count=1)])) == 5


def test_triangles_face_outwards(face: MorphableModel, built: head.Head) -> None:
    assert (mesh.area(face.uv.astype(float), face.triangles) > 0).all()  # none is flipped in the layout
    skin = np.flatnonzero(np.isin(face.regions, [face.region_names.index("skin"), face.region_names.index("brows")]))
    on_skin = np.isin(face.triangles, skin).all(1)
    corners = face.mean[face.triangles[on_skin]].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    seen_from_inside = corners.mean(1) - mesh.VIEWPOINT
    folded = (normal * seen_from_inside).sum(1) < 0
    assert folded.mean() < 0.02  # only behind the ears and under the wings of the nose


def test_mean_face_does_not_intersect_itself(face: MorphableModel) -> None:
    assert len(intersections(face.mean.astype(np.float64), face.triangles)) == 0


@pytest.mark.parametrize("name", ["jaw_open", "lips_press", "pucker", "smile_left", "blink_left", "squint", "sneer"])
def test_no_expression_intersects_itself(face: MorphableModel, name: str) -> None:
    assert len(intersections(expression(face, **{name: 1.0}), face.triangles)) == 0


def test_random_people_hardly_intersect_themselves(face: MorphableModel) -> None:
    """Lids and eyeball may just touch: at most a few triangles of a few faces, and nothing else."""
    eyes = [face.region_names.index(part) for part in ("lids", "sclera", "iris", "pupil")]
    for vertices in random_people(face, 2):
        pairs = intersections(vertices.astype(np.float64), face.triangles)
        assert len(pairs) < 60
        assert np.isin(face.regions[face.triangles[pairs]].max(2), eyes).any(1).all()


def test_random_people_have_no_degenerate_triangle(face: MorphableModel) -> None:
    for vertices in random_people(face, 20):
        assert trimesh.triangles.area(vertices[face.triangles]).min() > 0.01


def test_texture_layout_has_no_overlap(face: MorphableModel) -> None:
    assert face.uv.min() >= 0
    assert face.uv.max() <= 1
    corners = face.uv[face.triangles].astype(np.float64)
    # rasterise: no texel's centre lies in two triangles
    n = 1024
    covered = np.zeros((n, n), np.uint8)
    for a, b, c in corners * n:
        low = np.floor(np.min([a, b, c], 0)).astype(int)
        high = np.ceil(np.max([a, b, c], 0)).astype(int) + 1
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.503, np.arange(low[1], high[1]) + 0.501)
        inside = np.ones(x.shape, bool)
        for p, q in ((a, b), (b, c), (c, a)):
            inside &= (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) > 0
        covered[low[1] : high[1], low[0] : high[0]] += inside[: n - low[1], : n - low[0]]
    assert covered.max() == 1
    assert covered.mean() > 0.4


def test_shape_modes_are_orthonormal_and_ordered(face: MorphableModel) -> None:
    area = vertex_areas(face.mean.astype(np.float64), face.triangles)
    weighted = face.shape_basis * np.sqrt(area / area.sum())[:, None, None]
    flat = weighted.reshape(-1, face.n_shape)
    assert np.abs(flat.T @ flat - np.eye(face.n_shape)).max() < 2e-3
    assert (np.diff(face.shape_std) <= 0).all()


def test_random_people_are_symmetric_on_average_and_differ(face: MorphableModel, built: head.Head) -> None:
    people = random_people(face, 200)
    asymmetry = np.abs(people[:, built.mirror] * [-1, 1, 1] - people).mean()
    spread = people.std(0).mean()
    assert 0.1 < asymmetry < spread
    assert 1.5 < spread < 5


def test_mean_face_has_published_proportions(face: MorphableModel) -> None:
    for name, value in measure(face, face.mean).items():
        published = MEASUREMENTS[name]
        assert abs(value - published.mean) < published.std, f"{name}: {value:.1f} mm"


def test_random_people_vary_as_published(face: MorphableModel) -> None:
    for name, values in measure(face, random_people(face, 300)).items():
        ratio = values.std() / MEASUREMENTS[name].std
        assert 0.6 < ratio < 1.5, f"{name}: {ratio:.2f} of the published standard deviation"


def gaps(face: MorphableModel, vertices: NDArray[np.float64]) -> dict[str, float]:
    """Openings in mm: of both eyes (from the image's left) and of the inner lips."""
    p = vertices[face.landmarks]
    return {
        "right eye": np.linalg.norm(p[[37, 38]] - p[[41, 40]], axis=1).mean(),
        "left eye": np.linalg.norm(p[[43, 44]] - p[[47, 46]], axis=1).mean(),
        "lips": float(np.linalg.norm(p[62] - p[66])),
    }


def test_eyes_close_and_the_mouth_opens(face: MorphableModel, built: head.Head) -> None:
    rest = gaps(face, expression(face))
    blink = gaps(face, expression(face, blink_left=1))
    assert blink["left eye"] < 0.15 * rest["left eye"]
    assert blink["right eye"] == pytest.approx(rest["right eye"], abs=0.05)
    assert gaps(face, expression(face, jaw_open=1))["lips"] > 20
    assert gaps(face, expression(face, lips_press=1))["lips"] < rest["lips"]
    assert gaps(face, expression(face, squint=1))["left eye"] < 0.7 * rest["left eye"]
    # every pair of rim vertices meets, not only the landmarks
    closed = expression(face, blink_left=1)[built.eyes[0, rings.N_EYE_INNER]]
    upper, lower = closed[1 : rings.EYE_STEPS], closed[: rings.EYE_STEPS : -1]
    assert np.linalg.norm(upper - lower, axis=1).max() < 1.5


@pytest.mark.parametrize(
    ("name", "landmark", "direction"),
    [
        ("smile_left", 54, (1, 1, -1)),
        ("smile_right", 48, (-1, 1, -1)),
        ("lip_corner_down_left", 54, (0, -1, 0)),
        ("mouth_stretch_left", 54, (1, 0, -1)),
        ("pucker", 54, (-1, 0, 0)),
        ("pucker", 51, (0, 0, 1)),
        ("brow_up", 24, (0, 1, 0)),
        ("brow_inner_up", 22, (0, 1, 0)),
        ("brow_down", 22, (-1, -1, 0)),
        ("jaw_left", 8, (1, 0, 0)),
        ("jaw_open", 8, (0, -1, -1)),
        ("sneer", 35, (0, 1, 0)),
        ("upper_lip_up", 52, (0, 1, 0)),
        ("lower_lip_down", 56, (0, -1, 0)),
    ],
)
def test_expressions_move_what_they_name(
    face: MorphableModel, name: str, landmark: int, direction: tuple[int, int, int]
) -> None:
    moved = (expression(face, **{name: 1.0}) - face.mean)[face.landmarks[landmark]]
    for step, sign in zip(moved, direction, strict=True):
        assert sign == 0 or step * sign > 0.5


def test_cheeks_puff(face: MorphableModel) -> None:
    cheek = np.linalg.norm(face.mean - [43, -24, 87], axis=1).argmin()
    assert np.linalg.norm((expression(face, cheek_puff=1.0) - face.mean)[cheek]) > 4


def test_left_and_right_expressions_mirror_each_other(face: MorphableModel, built: head.Head) -> None:
    for left in (n for n in face.expression_names if n.endswith("_left") and n != "jaw_left"):
        right = left.replace("_left", "_right")
        one, other = (expression(face, **{n: 1.0}) - face.mean for n in (left, right))
        assert np.abs(one[built.mirror] * [-1, 1, 1] - other).max() < 0.01


def test_eyeballs_stay_round_and_behind_the_lids(face: MorphableModel, built: head.Head) -> None:
    for vertices in random_people(face, 10):
        for ball in built.eyeballs:
            radius = np.linalg.norm(vertices[ball] - vertices[ball].mean(0), axis=1)
            assert radius.max() < 18
        lids = vertices[face.landmarks[[43, 44, 46, 47]]].mean(0)
        front = vertices[built.eyeballs[0][0]]
        assert np.abs(front - lids)[:2].max() < 3


def test_many_meshes_at_once_are_one_product(face: MorphableModel) -> None:
    rng = np.random.default_rng(0)
    who, how = rng.normal(size=(64, face.n_shape)), rng.uniform(size=(64, face.n_expression))
    many = face.vertices(who, how)
    assert many.shape == (64, face.n_vertices, 3)
    assert np.abs(many[7] - face.vertices(who[7], how[7])).max() < 1e-3
