"""Fixtures that write every public format in its exact layout, from one small model, and that damage files."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from bfm_assets import ModelFileError, MorphableModel

Write = Callable[..., Path]
N_COLUMNS, N_ROWS = 10, 9
N_WHITENED = 62
# How often each file is damaged; raise it for a thorough run.
FUZZ_ROUNDS = int(os.environ.get("SYNERGY_FUZZ_ROUNDS", "60"))


@pytest.fixture(scope="session")
def reference() -> MorphableModel:
    """A curved sheet of 90 vertices with 40 shape and 10 expression modes; coordinates are multiples of 1/64."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-4.5, 4.5, N_COLUMNS), np.linspace(-4, 4, N_ROWS))
    mean = np.stack([x, y, 20 - x**2 / 4 - y**2 / 4], -1).reshape(-1, 3)
    corner = np.arange(N_COLUMNS * N_ROWS).reshape(N_ROWS, N_COLUMNS)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    v = len(mean)
    return MorphableModel(
        name="reference",
        licence="none",
        mean=np.round(mean * 64).astype(np.float32) / 64,
        shape_basis=rng.integers(-64, 64, (v, 3, 40)).astype(np.float32) / 64,
        shape_std=rng.uniform(0.5, 2, 40).astype(np.float32),
        expression_basis=rng.integers(-64, 64, (v, 3, 10)).astype(np.float32) / 64,
        expression_std=rng.uniform(0.5, 2, 10).astype(np.float32),
        triangles=triangles.astype(np.int32),
        landmarks=rng.permutation(v)[:68].astype(np.int32),
        colours=rng.integers(0, 256, (v, 3), dtype=np.uint8),
    )


def _flat(model: MorphableModel, basis: np.ndarray) -> np.ndarray:
    return basis.reshape(3 * model.n_vertices, -1)


def _coordinates(landmarks: np.ndarray) -> np.ndarray:
    """3DDFA's 204 coordinate indices."""
    return (3 * landmarks[:, None].astype(np.int64) + np.arange(3)).ravel()


def _whitening(model: MorphableModel) -> np.ndarray:
    return np.concatenate([np.full(12, 3.0), model.shape_std, model.expression_std]).astype(np.float32)


# How a mean face splits into a shape's and an expression's part, where a format has both.
EXPRESSION_MEAN = np.float32(0.25)


@pytest.fixture
def write_bfm2009(tmp_path: Path, reference: MorphableModel) -> Write:
    """01_MorphableModel.mat with three vertices more than the reference, which trimming takes away again.

    `expressions`: also Exp_Pca.bin and std_exp.txt; `info`: "model_info.mat", "BFM_exp_idx.mat" or None.
    """

    def write(expressions: bool = True, info: str | None = "model_info.mat", **changes: Any) -> Path:
        folder = tmp_path / "bfm2009"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        kept = np.delete(np.arange(reference.n_vertices + 3), [0, 40, 92])

        def widen(values: np.ndarray) -> np.ndarray:
            wide = np.zeros((reference.n_vertices + 3, 3, *values.shape[2:]), np.float32)
            wide[kept] = values
            return wide

        triangles = np.concatenate([kept[reference.triangles], [[0, 1, 2], [5, 40, 7]]])
        arrays = {
            "shapeMU": widen(reference.mean).reshape(-1, 1),
            "shapePC": widen(reference.shape_basis).reshape(-1, reference.n_shape),
            "shapeEV": reference.shape_std[:, None].astype(np.float64),
            "texMU": widen(reference.colours).reshape(-1, 1),
            "texPC": np.zeros((3, 5), np.float32),
            "tl": triangles[:, ::-1].astype(np.float64) + 1,
        }
        scipy.io.savemat(folder / "01_MorphableModel.mat", arrays | changes)
        if info:
            trim = {"trimIndex": kept[:, None] + 1.0}
            marks = {"keypoints": reference.landmarks[None] + 1.0} if info == "model_info.mat" else {}
            scipy.io.savemat(folder / info, trim | marks)
        if expressions:
            modes = _flat(reference, reference.expression_basis).T
            mean = np.full((1, modes.shape[1]), 7.0, np.float32)
            content = np.concatenate([mean, modes]).astype("<f4").tobytes()
            (folder / "Exp_Pca.bin").write_bytes(np.int32(len(modes)).tobytes() + content)
            (folder / "std_exp.txt").write_text(" ".join(f"{value:.9g}" for value in reference.expression_std) + "\n")
        return folder

    return write


@pytest.fixture
def write_bfm2017(tmp_path: Path, reference: MorphableModel) -> Write:
    """model2017-1_bfm_nomouth.h5 and a keypoint file next to it; `changes` replaces datasets, None leaves them out."""

    def write(keypoints: bool = True, **changes: Any) -> Path:
        path = tmp_path / "model2017-1_bfm_nomouth.h5"
        datasets = {
            "shape/model/mean": (reference.mean - EXPRESSION_MEAN).ravel(),
            "shape/model/pcaBasis": _flat(reference, reference.shape_basis),
            "shape/model/pcaVariance": reference.shape_std.astype(np.float64) ** 2,
            "expression/model/mean": np.full(3 * reference.n_vertices, EXPRESSION_MEAN),
            "expression/model/pcaBasis": _flat(reference, reference.expression_basis),
            "expression/model/pcaVariance": reference.expression_std.astype(np.float64) ** 2,
            "color/model/mean": reference.colours.ravel().astype(np.float32) / 255,
            "shape/representer/cells": reference.triangles.T.astype(np.uint32),
            "metadata/landmarks/json": "[]",
        } | {key.replace("__", "/"): value for key, value in changes.items()}
        with h5py.File(path, "w") as file:
            for name, value in datasets.items():
                if value is not None:
                    file[name] = value
        if keypoints:
            (tmp_path / "keypoints.txt").write_text("\n".join(str(i) for i in reference.landmarks))
        return path

    return write


@pytest.fixture
def write_3dmm_data(tmp_path: Path, reference: MorphableModel) -> Write:
    """The 3dmm_data folder; `changes` replaces arrays by file stem, None leaves them out."""

    def write(**changes: Any) -> Path:
        folder = tmp_path / "3dmm_data"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        arrays = {
            "u_shp": (reference.mean - EXPRESSION_MEAN).reshape(-1, 1),
            "u_exp": np.full((3 * reference.n_vertices, 1), EXPRESSION_MEAN),
            "w_shp_sim": np.asfortranarray(_flat(reference, reference.shape_basis)),
            "w_exp_sim": _flat(reference, reference.expression_basis),
            "keypoints_sim": _coordinates(reference.landmarks),
        } | changes
        for name, array in arrays.items():
            if array is not None:
                np.save(folder / f"{name}.npy", array, allow_pickle=True)
        scipy.io.savemat(folder / "tri.mat", {"tri": reference.triangles[:, ::-1].T.astype(np.uint16) + 1})
        whitening = {"param_mean": np.zeros(N_WHITENED, np.float32), "param_std": _whitening(reference)}
        (folder / "param_whitening.pkl").write_bytes(pickle.dumps(whitening, 3))
        return folder

    return write


@pytest.fixture
def write_noneck(tmp_path: Path, reference: MorphableModel) -> Write:
    """bfm_noneck_v3.pkl, whose own triangles are wrong, tri.pkl and the whitening; `changes` replaces entries."""

    def write(rebuilt: bool = True, protocol: int = 4, **changes: Any) -> Path:
        folder = tmp_path / "configs"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        triangles = np.asfortranarray(reference.triangles.T)
        entries = {
            "u": reference.mean.reshape(-1, 1).astype(np.float64),
            "w_shp": _flat(reference, np.concatenate([reference.shape_basis] * 2, 2)),
            "w_exp": _flat(reference, reference.expression_basis),
            "keypoints": _coordinates(reference.landmarks),
            "tri": triangles[:, :5] if rebuilt else triangles,
        } | changes
        kept = {key: value for key, value in entries.items() if value is not None}
        (folder / "bfm_noneck_v3.pkl").write_bytes(pickle.dumps(kept, protocol))
        if rebuilt:
            (folder / "tri.pkl").write_bytes(pickle.dumps(triangles, 4))
        whitening = {"mean": np.zeros(N_WHITENED, np.float32), "std": _whitening(reference)}
        (folder / "param_mean_std_62d_120x120.pkl").write_bytes(pickle.dumps(whitening, 3))
        return folder / "bfm_noneck_v3.pkl"

    return write


@pytest.fixture
def write_face3d(tmp_path: Path, reference: MorphableModel) -> Write:
    """face3d's BFM.mat; `changes` replaces fields, None leaves them out."""

    def write(**changes: Any) -> Path:
        column = lambda values: values.reshape(-1, 1).astype(np.float64)  # noqa: E731
        fields = {
            "shapeMU": column(reference.mean - EXPRESSION_MEAN),
            "shapePC": _flat(reference, reference.shape_basis),
            "shapeEV": column(reference.shape_std),
            "expMU": np.full((3 * reference.n_vertices, 1), EXPRESSION_MEAN),
            "expPC": _flat(reference, reference.expression_basis),
            "expEV": column(reference.expression_std),
            "texMU": column(reference.colours),
            "tri": reference.triangles[:, ::-1].T.astype(np.float64) + 1,
            "tri_mouth": np.ones((3, 1)),
            "kpt_ind": reference.landmarks[None].astype(np.float64) + 1,
        } | changes
        path = tmp_path / "BFM.mat"
        scipy.io.savemat(path, {"model": {key: value for key, value in fields.items() if value is not None}})
        return path

    return write


@pytest.fixture
def write_ict_folder(tmp_path: Path, reference: MorphableModel) -> Write:
    """FaceXModel: quads where the reference has pairs of triangles, texture seams, two identities, two expressions."""

    def write(names: tuple[str, ...] = ("jawOpen", "browDown_L"), **changes: Any) -> Path:
        folder = tmp_path / "FaceXModel"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        half = len(reference.triangles) // 2
        quads = np.concatenate([reference.triangles[:half], reference.triangles[half:, 2:]], 1) + 1
        uv = [f"vt {i / 100:.6f} {i / 200:.6f}" for i in range(reference.n_vertices)]
        faces = ["f " + " ".join(f"{i}/{i}" for i in quad) for quad in quads]

        def save(name: str, vertices: np.ndarray) -> None:
            lines = ["# made up", "mtllib ICTFaceModelMaterial.mtl"]
            lines += [f"v {x:.15f} {y:.15f} {z:.15f}" for x, y, z in vertices] + uv
            (folder / f"{name}.obj").write_text("\n".join([*lines, "usemtl M_Face", *faces]) + "\n")

        save("generic_neutral_mesh", reference.mean)
        for i in range(2):
            save(f"identity{i:03}", reference.mean + reference.shape_basis[..., i])
            save(("jawOpen", "browDown_L")[i], reference.mean + reference.expression_basis[..., i])
        info = {"expressions": names, "idx_to_landmark_verts": reference.landmarks.tolist()} | changes
        (folder / "vertex_indices.json").write_text(json.dumps(info))
        return folder

    return write


@pytest.fixture
def write_ict(tmp_path: Path, reference: MorphableModel) -> Write:
    """The packed ICT-FaceKit with a texture seam; `changes` replaces arrays, None leaves them out."""

    def write(**changes: Any) -> Path:
        arrays = {
            "neutral": reference.mean,
            "identity": reference.shape_basis.transpose(2, 0, 1).astype(np.float16),
            "expression": reference.expression_basis.transpose(2, 0, 1).astype(np.float16),
            "expression_names": np.array([f"e{i}" for i in range(reference.n_expression)]),
            "triangles": reference.triangles,
            "uv": np.linspace(0, 1, 2 * 3 * len(reference.triangles)).reshape(-1, 2).astype(np.float32),
            "triangles_uv": np.arange(3 * len(reference.triangles), dtype=np.int32).reshape(-1, 3),
            "landmarks68": reference.landmarks,
        } | changes
        path = tmp_path / "ict.npz"
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
        return path

    return write


@pytest.fixture
def write_bfm68(tmp_path: Path, reference: MorphableModel) -> Write:
    """The 68-point basis; `changes` replaces arrays, None leaves them out."""

    def write(**changes: Any) -> Path:
        at = reference.landmarks
        arrays = {
            "mean": reference.mean[at],
            "shape_basis": reference.shape_basis[at],
            "expression_basis": reference.expression_basis[at],
            "param_mean62": np.zeros(N_WHITENED, np.float32),
            "param_std62": _whitening(reference),
        } | changes
        path = tmp_path / "bfm68.npz"
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
        return path

    return write


@pytest.fixture
def assert_same(reference: MorphableModel) -> Callable[..., None]:
    """Compare a model that was read with the reference, field by field."""

    def check(model: MorphableModel, *skip: str) -> None:
        fields = ("mean", "shape_basis", "expression_basis", "triangles", "landmarks", "colours")
        for name in fields:
            if name not in skip:
                np.testing.assert_array_equal(getattr(model, name), getattr(reference, name), name)
        for name in ("shape_std", "expression_std"):
            if name not in skip:
                np.testing.assert_allclose(getattr(model, name), getattr(reference, name), rtol=1e-6, err_msg=name)

    return check


@pytest.fixture
def survives_damage() -> Callable[..., None]:
    """Read a file after truncation or random changes: the result is a model or an error of one line."""

    def check(path: Path, read: Callable[[], MorphableModel], rounds: int = FUZZ_ROUNDS) -> None:
        rng = np.random.default_rng(len(path.name))
        whole = path.read_bytes()
        for i in range(rounds):
            damaged = np.frombuffer(whole, np.uint8).copy()
            if i % 3 == 0:
                damaged = damaged[: rng.integers(len(whole))]
            elif i % 3 == 1:
                # Half of the changes are in the header, where they matter most.
                where = rng.integers(0, rng.choice([min(400, len(whole)), len(whole)]), rng.integers(1, 12))
                damaged[where] = rng.integers(0, 256, len(where))
            else:
                start = rng.integers(len(whole))
                damaged[start : start + 64] = rng.integers(0, 256, len(damaged[start : start + 64]))
            path.write_bytes(damaged.tobytes())
            message = None
            try:
                model = read()
            except ModelFileError as error:
                message = str(error)
            if message is None:
                assert isinstance(model, MorphableModel)
            else:
                assert "\n" not in message
                assert str(path.parent) in message
        path.write_bytes(whole)

    return check
