import csv
import dataclasses
import json

import numpy as np
import pytest
import trimesh
from PIL import Image

from synergy.demo import random_face
from synergy.export import (
    MESH_FORMATS,
    write_csv,
    write_csv_rows,
    write_json,
    write_mesh,
    write_parquet_rows,
    write_pts,
)
from synergy.raster import vertex_normals
from synergy.uv import texture_coordinates
from synergy.visibility import visible_points


@pytest.fixture(scope="module")
def face():
    return random_face((0, 30, 0), seed=0)


@pytest.fixture(scope="module")
def photo():
    y, x = np.mgrid[:256, :256]
    return np.stack([x, y, (x + y) // 2], -1).astype(np.uint8)


def test_json_holds_every_face_of_every_image(tmp_path, face):
    write_json(tmp_path / "p.json", {"a.jpg": [face, face], "none.jpg": []})
    images = json.loads((tmp_path / "p.json").read_text())["images"]
    assert [(image["name"], len(image["faces"])) for image in images] == [("a.jpg", 2), ("none.jpg", 0)]
    np.testing.assert_allclose(images[0]["faces"][1]["landmarks68"], face.landmarks68, atol=1e-3)


def test_csv_has_a_row_per_face_and_named_columns(tmp_path, face):
    write_csv(tmp_path / "p.csv", {"a,b.jpg": [face], "c.jpg": [face, face]})
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["face"]) for row in rows] == [("a,b.jpg", "0"), ("c.jpg", "0"), ("c.jpg", "1")]
    assert float(rows[0]["yaw"]) == pytest.approx(30, abs=1e-2)
    assert float(rows[0]["azimuth"]) == pytest.approx(30, abs=1e-2)
    assert float(rows[0]["elevation"]) == pytest.approx(0, abs=1e-2)
    assert float(rows[2]["z68"]) == pytest.approx(face.landmarks68[67, 2], abs=1e-3)


def test_a_record_of_an_older_version_has_no_direction(tmp_path, face):
    row = {"name": "a.jpg", "faces": [face.to_dict()]}
    del row["faces"][0]["direction_deg"]
    write_csv_rows(tmp_path / "p.csv", [row], [])
    with (tmp_path / "p.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["azimuth"], row["elevation"]) == ("", "")
    assert float(row["x1"]) == pytest.approx(face.landmarks68[0, 0], abs=1e-3)


NAMES = [
    # name                  cell
    ("=1+1.jpg", "'=1+1.jpg"),
    ("+a.jpg", "'+a.jpg"),
    ("-a.jpg", "'-a.jpg"),
    ("@SUM(A1).jpg", "'@SUM(A1).jpg"),
    ("\t=a.jpg", "'\t=a.jpg"),
    ("a=b.jpg", "a=b.jpg"),
]


@pytest.mark.parametrize(("name", "cell"), NAMES)
def test_csv_names_are_no_formulas_and_numbers_stay_numbers(tmp_path, face, name, cell):
    write_csv(tmp_path / "p.csv", {name: [face]})
    with (tmp_path / "p.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row.pop("image") == cell
    assert min(float(value) for value in row.values() if value) < 0


def test_blendshapes_are_columns(tmp_path, face):
    unnamed = dataclasses.replace(face, morphable_model=dataclasses.replace(face.morphable_model, expression_names=()))
    write_csv(tmp_path / "p.csv", {"a.jpg": [unnamed, face]})
    with (tmp_path / "p.csv").open() as file:
        without, row = csv.DictReader(file)
    for name, weight in face.blendshapes.items():
        assert float(row[name]) == pytest.approx(weight, abs=1e-4)
        assert without[name] == ""


def test_uncertainty_is_in_both_files_where_it_is_known(tmp_path, face):
    uncertain = dataclasses.replace(
        face, landmarks68_std=np.arange(68, dtype=np.float32), rotation_covariance=np.eye(3), confidence=0.75
    )
    write_csv(tmp_path / "p.csv", {"a.jpg": [face, uncertain]})
    with (tmp_path / "p.csv").open() as file:
        without, row = csv.DictReader(file)
    assert (without["confidence"], without["std1"], without["std68"]) == ("", "", "")
    assert (row["confidence"], row["std1"], row["std68"]) == ("0.75", "0.0", "67.0")
    write_json(tmp_path / "p.json", {"a.jpg": [face, uncertain]})
    without, with_it = json.loads((tmp_path / "p.json").read_text())["images"][0]["faces"]
    for name in ("landmarks68_std", "rotation_covariance", "confidence"):
        assert without[name] is None
        np.testing.assert_allclose(with_it[name], getattr(uncertain, name))


def test_pts_counts_from_one(tmp_path, face):
    write_pts(tmp_path / "p.pts", face.landmarks68)
    lines = (tmp_path / "p.pts").read_text().splitlines()
    assert lines[:3] == ["version: 1", "n_points: 68", "{"]
    assert lines[-1] == "}"
    np.testing.assert_allclose([float(v) for v in lines[3].split()], face.landmarks68[0, :2] + 1, atol=1e-3)


def expected_vertices(face, neutral=False):
    """Vertices as files hold them: y up and centred on the landmarks; pixels otherwise."""
    return (face.vertices(neutral) - [*face.landmarks68[:, :2].mean(0), 0]) * [1, -1, 1]


@pytest.mark.parametrize("neutral", [False, True])
@pytest.mark.parametrize("kind", ["obj", "ply", "stl"])
def test_meshes_read_back(tmp_path, face, photo, kind, neutral):
    write_mesh(tmp_path / f"face.{kind}", face, photo, neutral)
    mesh = trimesh.load(tmp_path / f"face.{kind}", process=False, force="mesh", maintain_order=True)
    model = face.morphable_model
    expected = expected_vertices(face, neutral)[model.triangles]
    np.testing.assert_allclose(mesh.vertices[mesh.faces], expected, atol=1e-2)
    # Outward triangles: the nearest front-facing patch of the face looks at the camera.
    nose = mesh.face_normals[mesh.triangles_center[:, 2].argsort()[-20:]]
    assert nose[:, 2].mean() > 0


def texture_of(mesh):
    material = mesh.visual.material
    image = material.image if hasattr(material, "image") else material.baseColorTexture
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("kind", ["obj", "glb"])
def test_textures_at_the_landmarks_are_the_photo(tmp_path, face, photo, kind):
    write_mesh(tmp_path / f"face.{kind}", face, photo)
    mesh = trimesh.load(tmp_path / f"face.{kind}", process=False, force="mesh", maintain_order=True)
    texture, uv = texture_of(mesh), texture_coordinates(face.morphable_model)
    corners = face.morphable_model.triangles
    np.testing.assert_allclose(mesh.visual.uv[mesh.faces], uv[corners], atol=1e-4)
    # Landmarks on the near side of the face, and not on its outline.
    for number in (28, 29, 30, 35, 42, 46, 48, 51, 54, 57, 26):
        vertex = face.morphable_model.landmarks[number]
        at = mesh.visual.uv[mesh.faces[np.argwhere(corners == vertex)[0][0]][np.argwhere(corners == vertex)[0][1]]]
        x, y = at[0] * len(texture) - 0.5, (1 - at[1]) * len(texture) - 0.5
        seen = texture[round(float(y)), round(float(x))].astype(int)
        np.testing.assert_allclose(seen[:2], face.vertices()[vertex, :2], atol=4, err_msg=str(number))


def test_an_obj_is_utf8_whatever_the_locale(tmp_path, face, photo, monkeypatch):
    monkeypatch.setattr("io.text_encoding", lambda encoding, *_: encoding or "ascii")
    write_mesh(tmp_path / "café.obj", face, photo)
    assert "mtllib café.mtl" in (tmp_path / "café.obj").read_bytes().decode("utf-8")


def test_names_with_line_breaks_stay_on_one_line_of_an_obj(tmp_path, face, photo):
    write_mesh(tmp_path / "a\nb.obj", face, photo)
    assert {path.name for path in tmp_path.iterdir()} == {"a\nb.obj", "a%0Ab.mtl", "a%0Ab.png"}
    assert "mtllib a%0Ab.mtl\n" in (tmp_path / "a\nb.obj").read_text()
    lines = (tmp_path / "a%0Ab.mtl").read_text().splitlines()
    assert {"newmtl a%0Ab", "map_Kd a%0Ab.png"} <= set(lines)


def test_an_obj_names_its_material_and_texture(tmp_path, face, photo):
    write_mesh(tmp_path / "a b.obj", face, photo)
    assert {path.name for path in tmp_path.iterdir()} >= {"a b.obj", "a b.mtl"}
    assert "mtllib a b.mtl" in (tmp_path / "a b.obj").read_text()
    material = dict(line.split(" ", 1) for line in (tmp_path / "a b.mtl").read_text().splitlines() if " " in line)
    assert Image.open(tmp_path / material["map_Kd"]).format == "PNG"
    assert [float(value) for value in material["Kd"].split()] == [1, 1, 1]


def test_glb_is_a_posed_neutral_face_with_weights_of_the_expression(tmp_path, face, photo):
    model = face.morphable_model
    for neutral in (False, True):
        write_mesh(tmp_path / "face.glb", face, photo, neutral)
        scene = trimesh.load(tmp_path / "face.glb", process=False, maintain_order=True)
        ((name, mesh),) = scene.geometry.items()
        placed = trimesh.transform_points(mesh.vertices, scene.graph[scene.graph.geometry_nodes[name][0]][0])
        shift = expected_vertices(face, True) - placed
        # `Face.vertices` puts the mean depth of the landmarks at zero, which the expression changes.
        np.testing.assert_allclose(shift[:, :2], 0, atol=1e-2)
        np.testing.assert_allclose(shift[:, 2], shift[0, 2], atol=1e-2)
        data = (tmp_path / "face.glb").read_bytes()
        document = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
        assert "animations" not in document
        (described,) = document["meshes"]
        assert described["extras"]["targetNames"] == list(model.expression_names)
        wanted = [0.0 if neutral else weight for weight in face.blendshapes.values()]
        np.testing.assert_allclose(described["weights"], wanted, atol=1e-6)


@pytest.mark.parametrize("neutral", [False, True])
def test_npz_holds_the_mesh_for_numpy(tmp_path, face, photo, neutral):
    write_mesh(tmp_path / "face.npz", face, photo, neutral)
    model = face.morphable_model
    with np.load(tmp_path / "face.npz") as arrays:
        np.testing.assert_array_equal(arrays["vertices"], face.vertices(neutral))
        np.testing.assert_array_equal(arrays["triangles"], model.triangles)
        np.testing.assert_array_equal(arrays["uv"], model.uv)
        np.testing.assert_array_equal(arrays["landmarks"], model.landmarks)
        width = np.ptp(arrays["vertices"][:, 0]) * arrays["mm_per_pixel"]
    assert 100 < width < 300


def test_visible_vertices_have_the_colours_of_the_photo(tmp_path, face, photo):
    write_mesh(tmp_path / "face.ply", face, photo)
    mesh = trimesh.load(tmp_path / "face.ply", process=False)
    vertices, model = face.vertices(), face.morphable_model
    seen = model.face_mask & (vertex_normals(vertices, model.triangles)[:, 2] > 0.7)
    seen &= visible_points(vertices, vertices, model.triangles)
    assert seen.sum() > 500
    error = np.abs(mesh.visual.vertex_colors[seen, :2].astype(int) - vertices[seen, :2])
    assert np.percentile(error, 90) < 3


def test_unknown_format_is_a_clear_error(tmp_path, face, photo):
    with pytest.raises(ValueError, match="obj, glb, ply, stl, npz"):
        write_mesh(tmp_path / "face.fbx", face, photo)


def test_parquet_has_a_row_per_face_and_one_per_image_without_faces(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    faces = [random_face((0, 20 * i, 0), seed=i).to_dict() for i in range(2)]
    rows = [
        {"name": "a.jpg", "faces": faces},
        {"name": "b.jpg", "faces": []},
        {"name": "c.mp4#000001", "seconds": 0.04, "faces": faces[:1]},
    ]
    write_parquet_rows(tmp_path / "p.parquet", iter(rows))
    table = pq.read_table(tmp_path / "p.parquet").to_pylist()
    found = [(row["image"], row["seconds"], row["face"]) for row in table]
    assert found == [("a.jpg", None, 0), ("a.jpg", None, 1), ("b.jpg", None, None), ("c.mp4#000001", 0.04, 0)]
    for row, face in zip((table[0], table[1], table[3]), (*faces, faces[0]), strict=True):
        expected = {**face, **face["pose_deg"], **face["direction_deg"]}
        del expected["pose_deg"], expected["direction_deg"]
        assert set(row) == {*expected, "image", "seconds", "face"}
        assert dict(row["blendshapes"]) == pytest.approx(face["blendshapes"], abs=1e-6)
        for name in ("model_id", "morphable_model", "track_id", "crop_size"):
            assert row[name] == expected[name]
        for name in ("box", "score", "pitch", "yaw", "roll", "azimuth", "elevation", "scale", "params"):
            assert row[name] == pytest.approx(expected[name], rel=1e-6)
        for name in ("landmarks68", "rotation", "crop_affine"):
            np.testing.assert_allclose(row[name], face[name], rtol=1e-6)
    assert all(value is None for name, value in table[2].items() if name != "image")


def test_parquet_of_many_rows_is_written_in_groups(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    rows = ({"name": f"{i}.jpg", "faces": []} for i in range(4500))
    write_parquet_rows(tmp_path / "p.parquet", rows)
    with pq.ParquetFile(tmp_path / "p.parquet") as file:
        assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2000, 2000, 500]


@pytest.mark.parametrize("kind", MESH_FORMATS)
def test_without_a_mesh_no_file_is_left(tmp_path, face, photo, kind):
    sparse = dataclasses.replace(face, morphable_model=face.morphable_model.landmark_model())
    with pytest.raises(ValueError, match="landmark vertices only"):
        write_mesh(tmp_path / f"face.{kind}", sparse, photo)
    assert list(tmp_path.iterdir()) == []
