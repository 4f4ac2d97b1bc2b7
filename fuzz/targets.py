"""The table of what is fuzzed: for each kind of file, valid examples and the readers of its content.

`tests/test_fuzz.py` damages the examples at random in the default test run, and `python -m fuzz` (atheris) searches for
hours if it is told to. The expected outcome of a reader is a result or one of its documented errors in one line.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

from bfm_assets import ModelFileError, MorphableModel, read_model
from bfm_assets.keypoints import read_keypoints
from bfm_assets.safe_files import read_array
from eval.predictions import Predictions
from synergy.archives import images_in_archive
from synergy.checkpoints import read_checkpoint
from synergy.compat.checkpoint import read_state
from synergy.data import AnnotatedCropsReader, JVCRReader
from synergy.data.filetree import FileTree
from synergy.data.image import decode_image
from synergy.data.opening import open_reader
from synergy.data.reader import SampleError
from synergy.demo import random_face
from synergy.deploy.exported import ExportedNetwork, description_path
from synergy.errors import UserError
from synergy.export import write_pts
from synergy.images import check_image, count_frames, read_image, write_image
from synergy.models.landmark_net import LandmarkNet
from synergy.networks import build_network
from synergy.results import RECORD, ResultFolder
from synergy.video import VideoReader
from synergy.weights import load, save_weights
from train.packs.pack import Pack

# What every reader may raise. The message is one line.
DOCUMENTED = (UserError, ModelFileError, SampleError)
# Larger images are not decoded, so that one execution stays short.
_MAX_PIXELS = 1_000_000
_MAX_FRAMES = 20
_RGB = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes:
        seeds: makes valid files of this kind.
        read: gives some content, and a folder in which it may write, to all readers of this kind.
    """

    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes, Path], None]


def attempt(read: Callable[[], object], *documented: type[Exception]) -> None:
    """Call a reader.

    Args:
        read: the reader.
        documented: errors that it may raise in addition to `DOCUMENTED`.

    Raises:
        AssertionError: the message of a documented error is empty or has more than one line.
        Exception: the reader raised an error that is not documented.
    """
    message = "none"
    try:
        read()
    except (*DOCUMENTED, *documented) as error:
        message = str(error)
    assert message.strip(), "an error without a message"
    assert "\n" not in message, f"an error with several lines: {message!r}"


# --- images and videos


def _images(kind: str) -> Callable[[], list[bytes]]:
    """Return the maker of a small image by our writer, and by Pillow in several modes."""

    def make() -> list[bytes]:
        with TemporaryDirectory() as folder:
            path = Path(folder, f"a.{kind}")
            write_image(path, _RGB)
            files = [path.read_bytes()]
        exif = Image.Exif()
        exif[0x0112] = 6
        frames = [Image.fromarray(_RGB).convert(mode) for mode in ("L", "P", "RGBA") if kind != "jpg" or mode == "L"]
        for frame in frames:
            file = io.BytesIO()
            frame.save(file, "JPEG" if kind == "jpg" else kind.upper(), exif=exif)
            files.append(file.getvalue())
        if kind in ("gif", "webp", "png"):
            file = io.BytesIO()
            frames[0].save(file, kind.upper(), save_all=True, append_images=frames[1:])
            files.append(file.getvalue())
        return files

    return make


def _read_image(content: bytes, folder: Path) -> None:  # noqa: ARG001
    attempt(lambda: check_image(read_image(content, "fuzzed", _MAX_PIXELS)))
    attempt(lambda: check_image(decode_image(content, _MAX_PIXELS)), ValueError)
    assert count_frames(content) >= 1


def _videos() -> list[bytes]:
    import av

    files = []
    for kind, codec in (("mp4", "libx264"), ("matroska", "mpeg4"), ("avi", "mjpeg")):
        file = io.BytesIO()
        with av.open(file, "w", format=kind) as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height = 32, 32
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for i in range(4):
                picture = np.full((32, 32, 3), 50 * i, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        files.append(file.getvalue())
    return files


def _read_video(content: bytes, folder: Path) -> None:
    path = _write(folder / "fuzzed.mp4", content)

    def read() -> None:
        with VideoReader(path, _MAX_PIXELS) as video:
            for frame in islice(video, _MAX_FRAMES):
                check_image(frame.image)

    attempt(read)


# --- morphable models, arrays and annotations


@cache
def _model() -> MorphableModel:
    """Return a morphable model of 80 vertices."""
    rng = np.random.default_rng(0)
    return MorphableModel(
        name="small",
        licence="MIT",
        mean=rng.normal(size=(80, 3)).astype(np.float32),
        shape_basis=rng.normal(size=(80, 3, 4)).astype(np.float32),
        shape_std=np.ones(4, np.float32),
        expression_basis=rng.normal(size=(80, 3, 3)).astype(np.float32),
        expression_std=np.ones(3, np.float32),
        triangles=rng.permuted(np.tile(np.arange(80, dtype=np.int32), (50, 1)), axis=1)[:, :3].copy(),
        landmarks=np.arange(68, dtype=np.int32),
    )


def _written(name: str, write: Callable[[Path], object]) -> bytes:
    """Return what a writer that takes a path writes."""
    with TemporaryDirectory() as folder:
        write(Path(folder, name))
        return Path(folder, name).read_bytes()


def _points(n: int = 2) -> np.ndarray:
    return np.random.default_rng(1).uniform(4, 20, (n, 68, 3)).astype(np.float32)


def _mats() -> list[bytes]:
    rng = np.random.default_rng(0)
    variables = {
        "pt3d_68": _points()[0].T,
        "Pose_Para": rng.normal(size=(1, 7)),
        "Shape_Para": np.zeros((199, 1)),
        "Exp_Para": np.zeros((29, 1)),
    }
    fields = {"shapeMU": rng.normal(size=(240, 1)), "shapePC": rng.normal(size=(240, 4)), "kpt_ind": np.arange(68.0)}
    contents = [(variables, False), (variables, True), ({"model": fields}, False), (fields, False)]
    return [
        _written("a.mat", lambda path, c=content, z=is_compressed: savemat(path, c, do_compression=z))
        for content, is_compressed in contents
    ]


def _read_mat(content: bytes, folder: Path) -> None:
    attempt(lambda: read_model(_write(folder / "model.mat", content)))
    data = _photo_folder(folder / "data")
    _write(data / "a.mat", content)
    attempt(lambda: [*open_reader(data)])


def _npzs() -> list[bytes]:
    points = _points()
    crops = {"names": np.array(["a.jpg", "b.jpg"]), "points68": points[..., :2], "visibility68": np.ones((2, 68))}
    predictions = Predictions(("a.jpg", "b.jpg"), points, np.zeros((2, 3), np.float32))
    return [
        _written("a.npz", _model().save),
        _written("a.npz", predictions.save),
        _written("a.npz", lambda path: np.savez(path, **crops)),
    ]


def _read_npz(content: bytes, folder: Path) -> None:
    path = _write(folder / "fuzzed.npz", content)
    attempt(lambda: read_model(path))
    attempt(lambda: Predictions.load(path))
    data = _photo_folder(folder / "fuzzed")
    attempt(lambda: [*AnnotatedCropsReader(data, path)])


def _npys() -> list[bytes]:
    arrays = [np.arange(68), np.arange(204.0), _points(), np.asfortranarray(_points()), np.array("text")]
    return [_written("a.npy", lambda path, a=array: np.save(path, a)) for array in arrays]


def _read_npy(content: bytes, folder: Path) -> None:
    path = _write(folder / "fuzzed.npy", content)
    attempt(lambda: read_array(path))
    attempt(lambda: read_keypoints(path, 300))


def _pickles() -> list[bytes]:
    content = {
        "mean": np.zeros(62, np.float32),
        "std": np.ones((3, 4), order="F"),
        "list": [1, 2.5, "a", None, (b"x",)],
    }
    return [pickle.dumps(content, protocol) for protocol in (0, 2, 4, 5)]


def _read_pickle(content: bytes, folder: Path) -> None:
    from bfm_assets.unpickle import read_pickle

    path = _write(folder / "fuzzed.pkl", content)
    attempt(lambda: read_pickle(path))
    attempt(lambda: read_model(path))


def _h5s() -> list[bytes]:
    model = _model()

    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name, basis in (("shape", model.shape_basis), ("expression", model.expression_basis)):
                file[f"{name}/model/mean"] = model.mean.ravel()
                file[f"{name}/model/pcaBasis"] = basis.reshape(240, -1)
                file[f"{name}/model/pcaVariance"] = np.ones(basis.shape[2])
            file["shape/representer/cells"] = model.triangles.T

    return [_written("a.h5", write)]


def _read_h5(content: bytes, folder: Path) -> None:
    # The reader takes the landmarks from this file next to the model.
    keypoints = folder / "keypoints.txt"
    if not keypoints.exists():
        keypoints.write_text(" ".join(map(str, range(68))))
    attempt(lambda: read_model(_write(folder / "fuzzed.h5", content)))


def _pts() -> list[bytes]:
    return [_written("a.pts", lambda path: write_pts(path, _points()[0])), " ".join(map(str, range(68))).encode()]


def _read_pts(content: bytes, folder: Path) -> None:
    data = _photo_folder(folder / "data")
    _write(data / "a.pts", content)
    attempt(lambda: [*open_reader(data)])
    attempt(lambda: read_keypoints(_write(folder / "fuzzed.txt", content), 300))


# --- weights


def _network() -> LandmarkNet:
    """Return a network of few weights, so that its files are small."""
    return build_network("direct", _model(), width=0.0625, size=32)


@cache
def _weights() -> tuple[bytes, bytes]:
    """Return the two files of the weights of a small network: tensors and description."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.safetensors")
        save_weights(_network(), path, {}, _model())
        return path.read_bytes(), path.with_suffix(".json").read_bytes()


def _read_safetensors(content: bytes, folder: Path) -> None:
    path = _write(folder / "fuzzed.safetensors", content)
    _write(path.with_suffix(".json"), _weights()[1])
    attempt(lambda: load(path, _model()))


def _checkpoints() -> list[bytes]:
    state = {"module.a.weight": torch.ones(2, 3), "module.a.bias": torch.zeros(2).half()}
    contents = [state, {"state_dict": state, "epoch": 3, "lr": [0.1]}]
    return [
        _written("a.pth", lambda path, c=content, z=is_zip: torch.save(c, path, _use_new_zipfile_serialization=z))
        for content in contents
        for is_zip in (True, False)
    ]


def _read_checkpoint(content: bytes, folder: Path) -> None:
    path = _write(folder / "fuzzed.pth", content)
    attempt(lambda: read_checkpoint(path))
    attempt(lambda: read_state(path))


def _onnx_models() -> list[bytes]:
    from synergy.engines import CropModel
    from synergy.engines.onnx_graph import to_onnx

    return [to_onnx(CropModel(_network().eval()))]


@cache
def _onnx_description() -> dict[str, object]:
    return {
        "format": "synergy-model",
        "version": 1,
        "name": "small",
        "precision": "fp32",
        "input": {"shape": ["batch", 32, 32, 3]},
        "outputs": [{"name": "landmarks"}, {"name": "params"}],
        "crop": {"margin": 1.4},
        "morphable_model": {"name": "small", "digest": _model().digest},
    }


def _read_onnx(content: bytes, folder: Path) -> None:
    from synergy.engines.onnx_engine import OnnxEngine

    path = _write(folder / "fuzzed.onnx", content)
    # The description names the content, as if somebody had made both files.
    facts = _onnx_description() | {"sha256": hashlib.sha256(content).hexdigest()}
    description_path(path).write_text(json.dumps(facts))

    def read() -> None:
        net = ExportedNetwork(path, _model())
        OnnxEngine(net.model, net.outputs, source=str(path))

    attempt(read)


# --- JSON


def _jsons() -> list[bytes]:
    face = random_face((0, 20, 0), seed=0).to_dict()
    line = {"source": "a.jpg", "key": "k", "formats": ["pts"], "files": [], "name": "a.jpg", "faces": [face]}
    entry = {"img_paths": "a.jpg", "landmarks": _points()[0].tolist(), "isValidation": 1.0}
    manifest = {"version": 3, "arrays": ["offsets"], "sources": {}}
    contents = [line, [entry], manifest, _onnx_description() | {"sha256": "0" * 64}]
    return [*(json.dumps(content).encode() + b"\n" for content in contents), _weights()[1], b"[" * 5000]


def _read_json(content: bytes, folder: Path) -> None:
    results = folder / "results"
    results.mkdir(exist_ok=True)
    _write(results / RECORD, content)

    def read_results() -> None:
        with ResultFolder(results) as record:
            record.finished("a.jpg", "k", ["pts"])
            record.write_tables(["json", "csv"])

    attempt(read_results)
    weights = _write(folder / "fuzzed.safetensors", _weights()[0])
    _write(weights.with_suffix(".json"), content)
    attempt(lambda: load(weights, _model()))
    model = _write(folder / "fuzzed.onnx", b"")
    _write(description_path(model), content)
    attempt(lambda: ExportedNetwork(model, _model()))
    attempt(lambda: [*JVCRReader(_write(folder / "fuzzed.json", content))])
    pack = folder / "pack"
    pack.mkdir(exist_ok=True)
    _write(pack / "manifest.json", content)
    _write(pack / "images.bin", b"0")
    np.save(pack / "offsets.npy", np.array([0, 1]))
    attempt(lambda: Pack.open(pack))


# --- archives


def _archive_files() -> dict[str, bytes]:
    return {"a/b.jpg": _images("jpg")()[0], "a/b.pts": _pts()[0], "a/c.txt": b"text"}


def _tars() -> list[bytes]:
    files = []
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as archive:
            for name, content in _archive_files().items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        files.append(file.getvalue())
    return files


def _zips() -> list[bytes]:
    files = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, content in _archive_files().items():
                archive.writestr(name, content)
        files.append(file.getvalue())
    return files


def _parquets() -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = _images("jpg")()
    tables = [pa.table({"image": images}), pa.table({"image": [{"bytes": image, "path": "a"} for image in images]})]
    return [_written("a.parquet", lambda path, t=table: pq.write_table(t, path)) for table in tables]


def _read_parquet(content: bytes, folder: Path) -> None:
    path = _write(folder / "fuzzed.parquet", content)
    attempt(lambda: [*islice(images_in_archive(path), 20)])


def _read_archive(content: bytes, folder: Path) -> None:
    for suffix in ("tar", "zip"):
        images = _write(folder / f"fuzzed.{suffix}", content)
        attempt(lambda images=images: [*islice(images_in_archive(images), 20)])
    path = _write(folder / "fuzzed.archive", content)

    def read() -> None:
        tree = FileTree(path)
        for name in tree.names[:20]:
            attempt(lambda name=name: tree.read(name), OSError)

    attempt(read)
    attempt(lambda: [*open_reader(path)])


def _photo_folder(folder: Path) -> Path:
    """Return a folder, made if it does not exist, with the photo a.jpg."""
    folder.mkdir(exist_ok=True)
    if not (folder / "a.jpg").exists():
        write_image(folder / "a.jpg", _RGB)
    return folder


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


TARGETS: dict[str, Target] = {
    "jpeg": Target(_images("jpg"), _read_image),
    "png": Target(_images("png"), _read_image),
    "webp": Target(_images("webp"), _read_image),
    "gif": Target(_images("gif"), _read_image),
    "video": Target(_videos, _read_video),
    "mat": Target(_mats, _read_mat),
    "npz": Target(_npzs, _read_npz),
    "npy": Target(_npys, _read_npy),
    "pkl": Target(_pickles, _read_pickle),
    "h5": Target(_h5s, _read_h5),
    "pts": Target(_pts, _read_pts),
    "json": Target(_jsons, _read_json),
    "safetensors": Target(lambda: [_weights()[0]], _read_safetensors),
    "checkpoint": Target(_checkpoints, _read_checkpoint),
    "onnx": Target(_onnx_models, _read_onnx),
    "tar": Target(_tars, _read_archive),
    "zip": Target(_zips, _read_archive),
    "parquet": Target(_parquets, _read_parquet),
}


def scratch_folder() -> TemporaryDirectory[str]:
    """Return a temporary folder, in memory where the system has one there."""
    memory = "/dev/shm"  # noqa: S108 - a fast place for a folder of our own
    return TemporaryDirectory(prefix="synergy-fuzz-", dir=memory if os.access(memory, os.W_OK) else None)
