"""The open face as it ships: what its users rely on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from bfm_assets import MorphableModel, open_face

ROOT = Path(__file__).parents[2]
FILE = ROOT / "bfm_assets" / "data" / "open_face.npz"

# iBUG indices of the landmarks on the other side of the face.
MIRROR_68 = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)
# The 52 shapes of ARKit's ARFaceAnchor.BlendShapeLocation without tongueOut, which ICT-FaceKit does not have.
CENTRAL = "browInnerUp cheekPuff jawForward jawOpen mouthClose mouthFunnel mouthPucker mouthRollLower mouthRollUpper"
CENTRAL += " mouthShrugLower mouthShrugUpper"
SIDED = "browDown browOuterUp cheekSquint eyeBlink eyeLookDown eyeLookIn eyeLookOut eyeLookUp eyeSquint eyeWide jaw"
SIDED += " mouth mouthDimple mouthFrown mouthLowerDown mouthPress mouthSmile mouthStretch mouthUpperUp noseSneer"
ARKIT = sorted([*CENTRAL.split(), *(name + side for name in SIDED.split() for side in ("Left", "Right"))])


@pytest.fixture(scope="module")
def face() -> MorphableModel:
    return open_face()


@pytest.fixture(scope="module")
def mirror(face: MorphableModel) -> NDArray[np.intp]:
    """The index of each vertex's mirror image: every position with its uv occurs once, apart from the teeth's uv."""
    named = {tuple(v) + tuple(r): i for i, (v, r) in enumerate(zip(face.mean.tolist(), _regions(face), strict=True))}
    return np.array(
        [named[(-x + 0.0, y, z) + tuple(r)] for (x, y, z), r in zip(face.mean.tolist(), _regions(face), strict=True)]
    )


def _regions(face: MorphableModel) -> list[list[int]]:
    """The region weights: they tell apart the two vertices that lie at each place of a lining's rim."""
    assert face.region_weights is not None
    return face.region_weights.tolist()


def expression(face: MorphableModel, **weights: float) -> NDArray[np.float64]:
    """Vertices (V, 3) of the mean face with named expressions."""
    coefficients = np.zeros(face.n_expression)
    for name, weight in weights.items():
        coefficients[face.expression_names.index(name)] = weight
    return face.vertices(np.zeros(1), coefficients).astype(np.float64)


def region(face: MorphableModel, name: str) -> NDArray[np.bool_]:
    assert face.region_weights is not None
    return face.region_weights[:, face.region_names.index(name)] > 127


def test_file_is_small() -> None:
    assert FILE.stat().st_size < 5_000_000


def test_licence_is_stated_everywhere(face: MorphableModel) -> None:
    assert face.licence == "MIT"
    assert "Copyright (c) 2020 USC Institute for Creative Technologies" in face.notice
    assert (ROOT / "NOTICE").read_text(encoding="utf-8").startswith(face.notice)


def test_names_are_arkits(face: MorphableModel) -> None:
    assert len(ARKIT) == 51
    assert list(face.expression_names) == ARKIT


def test_landmarks_are_vertices_in_ibug_order(face: MorphableModel) -> None:
    points = face.mean[face.landmarks]
    assert len(set(face.landmarks.tolist())) == 68
    assert (np.diff(points[:17, 0]) > 0).all()  # the jaw line runs from x < 0 to x > 0
    assert points[30, 2] == points[:, 2].max()  # the tip of the nose is the nearest
    assert points[8, 1] == points[:, 1].min()  # the chin is the lowest
    assert (points[19, 1] > points[37, 1] > points[41, 1] > points[30, 1] > points[51, 1] > points[57, 1]).all()


def test_mesh_is_exactly_symmetric(face: MorphableModel, mirror: NDArray[np.intp]) -> None:
    assert np.array_equal(mirror[mirror], np.arange(face.n_vertices))
    assert np.array_equal(face.landmarks[MIRROR_68], mirror[face.landmarks])
    both = {frozenset(t) for t in face.triangles.tolist()}
    assert both == {frozenset(t) for t in mirror[face.triangles].tolist()}
    for field in (face.face_mask, face.colours):
        assert field is not None
        assert np.array_equal(field, field[mirror])


def test_identity_modes_are_symmetric_or_antisymmetric(face: MorphableModel, mirror: NDArray[np.intp]) -> None:
    mirrored = face.shape_basis[mirror] * np.array([-1, 1, 1], np.float32)[:, None]
    symmetric = np.abs(mirrored - face.shape_basis).max((0, 1)) < 0.02
    antisymmetric = np.abs(mirrored + face.shape_basis).max((0, 1)) < 0.02
    assert (symmetric ^ antisymmetric).all()
    assert symmetric.sum() > antisymmetric.sum() > 5


def test_left_and_right_expressions_mirror_each_other(face: MorphableModel, mirror: NDArray[np.intp]) -> None:
    for name in face.expression_names:
        other = name.replace("Left", "Right") if "Left" in name else name.replace("Right", "Left")
        one, two = (expression(face, **{n: 1.0}) - face.mean for n in (name, other))
        assert np.abs(one[mirror] * [-1, 1, 1] - two).max() < 0.02, name


def test_mesh_is_a_clean_surface(face: MorphableModel) -> None:
    surface = trimesh.Trimesh(face.mean, face.triangles, process=False)
    assert surface.is_winding_consistent
    assert surface.area_faces.min() > 1e-3
    edges = np.sort(surface.edges, axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() == 2  # no edge has three triangles
    # skin, linings of mouth and eye sockets, eyeballs, gums with the tongue, 24 teeth
    assert surface.body_count == 1 + 3 + 2 + 1 + 24
    assert len(np.unique(face.triangles)) == face.n_vertices


def test_it_is_a_whole_head(face: MorphableModel) -> None:
    skin = face.mean[region(face, "skin") | region(face, "hair")]
    low, high = skin.min(0), skin.max(0)
    chin = face.mean[face.landmarks[8]]
    assert high[1] - chin[1] > 200  # chin to crown
    assert high[2] - low[2] > 190  # nose to the back of the head
    assert low[1] < chin[1] - 30  # a neck
    ears = skin[(np.abs(skin[:, 0]) > 78) & (np.abs(skin[:, 2]) < 40) & (np.abs(skin[:, 1]) < 60)]
    assert len(ears) > 100


def test_texture_layout_has_no_overlap(face: MorphableModel) -> None:
    assert face.uv is not None
    assert face.uv.min() >= 0
    assert face.uv.max() <= 1
    corners = face.uv[face.triangles].astype(np.float64)
    # Rasterise: no texel's centre lies in two triangles.
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
    assert covered.mean() > 0.6


def test_regions_and_face_mask(face: MorphableModel) -> None:
    for name in face.region_names:
        assert region(face, name).sum() > 10 or name == "blush", name
    assert face.face_mask is not None
    assert face.face_mask[face.landmarks].all()
    assert face.face_mask[region(face, "iris")].all()
    assert not face.face_mask[region(face, "teeth") | region(face, "gums") | region(face, "mouth")].any()
    assert face.face_mask[face.face_triangles].all()
    assert 0.2 < len(face.face_triangles) / len(face.triangles) < 0.7
    assert not face.face_mask[np.abs(face.mean[:, 0]) > 80].any()  # ears
    assert not face.face_mask[face.mean[:, 2] < 0].any()  # back of the head


def gaps(face: MorphableModel, vertices: NDArray[np.float64]) -> dict[str, float]:
    """Openings in mm: of the right and the left eye and of the inner lips."""
    p = vertices[face.landmarks]
    return {
        "right eye": float(np.linalg.norm(p[[37, 38]] - p[[41, 40]], axis=1).mean()),
        "left eye": float(np.linalg.norm(p[[43, 44]] - p[[47, 46]], axis=1).mean()),
        "lips": float(p[62, 1] - p[66, 1]),
    }


def test_eyes_close_and_the_mouth_opens(face: MorphableModel) -> None:
    rest, blink = gaps(face, expression(face)), gaps(face, expression(face, eyeBlinkLeft=1))
    assert abs(rest["lips"]) < 0.05  # closed
    assert blink["left eye"] < 0.2 * rest["left eye"]
    assert blink["right eye"] == pytest.approx(rest["right eye"], abs=0.05)
    assert gaps(face, expression(face, jawOpen=1))["lips"] > 20
    assert abs(gaps(face, expression(face, jawOpen=1, mouthClose=1))["lips"]) < 8  # of 28
    assert gaps(face, expression(face, eyeSquintLeft=1))["left eye"] < 0.85 * rest["left eye"]
    assert gaps(face, expression(face, eyeWideLeft=1))["left eye"] > 1.2 * rest["left eye"]


@pytest.mark.parametrize(
    ("name", "landmark", "direction"),
    [
        ("mouthSmileLeft", 54, (1, 1, -1)),
        ("mouthSmileRight", 48, (-1, 1, -1)),
        ("mouthFrownLeft", 54, (0, -1, 0)),
        ("mouthStretchLeft", 54, (1, 0, -1)),
        ("mouthPucker", 54, (-1, 0, 0)),
        ("mouthPucker", 51, (0, 0, 1)),
        ("browOuterUpLeft", 25, (0, 1, 0)),
        ("browInnerUp", 22, (0, 1, 0)),
        ("browDownLeft", 22, (0, -1, 0)),
        ("jawLeft", 8, (1, 0, 0)),
        ("jawRight", 8, (-1, 0, 0)),
        ("jawForward", 8, (0, 0, 1)),
        ("jawOpen", 8, (0, -1, -1)),
        ("noseSneerLeft", 35, (0, 1, 0)),
        ("mouthUpperUpLeft", 52, (0, 1, 0)),
        ("mouthLowerDownLeft", 56, (0, -1, 0)),
    ],
)
def test_expressions_move_what_they_name(
    face: MorphableModel, name: str, landmark: int, direction: tuple[int, int, int]
) -> None:
    """Left is the person's left, which is x > 0."""
    moved = (expression(face, **{name: 1.0}) - face.mean)[face.landmarks[landmark]]
    for step, sign in zip(moved, direction, strict=True):
        assert sign == 0 or step * sign > 0.4


def test_eyes_turn_with_the_gaze(face: MorphableModel) -> None:
    pupil = region(face, "pupil") & (face.mean[:, 0] > 0)
    move = {name: (expression(face, **{name: 1.0}) - face.mean)[pupil].mean(0) for name in face.expression_names}
    assert move["eyeLookOutLeft"][0] > 1
    assert move["eyeLookInLeft"][0] < -1
    assert move["eyeLookUpLeft"][1] > 1
    assert move["eyeLookDownLeft"][1] < -1
    assert np.abs(move["eyeBlinkLeft"]).max() < 0.5


def test_teeth_move_with_the_jaw(face: MorphableModel) -> None:
    teeth, middle = region(face, "teeth"), face.mean[face.landmarks[66], 1]
    moved = (expression(face, jawOpen=1.0) - face.mean)[:, 1]
    upper, lower = teeth & (face.mean[:, 1] > middle + 8), teeth & (face.mean[:, 1] < middle - 8)
    assert np.abs(moved[upper]).max() < 0.5
    assert moved[lower].max() < -5


def test_random_people_differ_and_have_no_degenerate_triangle(face: MorphableModel) -> None:
    who = np.random.default_rng(0).normal(size=(60, face.n_shape)) * face.shape_std
    people = face.vertices(who, np.zeros(1))
    assert 1.5 < people.std(0).mean() < 8
    skin = face.triangles[region(face, "skin")[face.triangles].all(1)]
    for vertices in people[:10]:
        assert trimesh.triangles.area(vertices[skin]).min() > 1e-3


def test_many_meshes_at_once_are_one_product(face: MorphableModel) -> None:
    rng = np.random.default_rng(0)
    who, how = rng.normal(size=(16, face.n_shape)), rng.uniform(size=(16, face.n_expression))
    many = face.vertices(who, how)
    assert many.shape == (16, face.n_vertices, 3)
    assert np.abs(many[7] - face.vertices(who[7], how[7])).max() < 1e-3
