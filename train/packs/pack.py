"""The training pack: one directory of plain arrays that a training run memory-maps.

    manifest.json     version, number of samples, sources with licences, morphable model, options, label statistics,
                      names of the arrays, and a SHA-256 of every file and of all together
    images.bin        JPEG files one after another, 120x120
    offsets.npy       (N + 1,) int64: image i is bytes offsets[i]:offsets[i + 1] of images.bin
    names.npy         (N,) unicode: name of the image in its data set; profiled images add "#yaw+45"
    sources.npy       (N,) unicode: data set; profiled images add "+profile"
    split.npy         (N,) unicode: "train" or "val"
    landmarks68.npy   (N, 68, 3) float32: the label. Pixels of the 120x120 image, centres at integers, y down; z in the
                      same scale, larger is nearer, zero mean per face
    visibility68.npy  (N, 68) int8: 2 visible, 1 occluded by something, 0 self-occluded, -1 not annotated
    params.npy        (N, 12 + S + E) float32: pose in crop pixels (x = V_x, y = 120 - V_y), then raw shape and
                      expression coefficients of the morphable model that the manifest names
    pose_deg.npy      (N, 3) float32: pitch, yaw, roll (see `synergy.geometry`)
    weight.npy        (N,) float32: weight of the label in training, 0 to 1
    residual.npy      (N,) float32: mean distance of annotations to the label, without the 17 iBUG points of the jaw and
                      without their bias, in % of the face size; NaN without annotations
    annotated68.npy   (N, 68, 2) float32: manual annotations in crop pixels, NaN where unknown
    annotated21.npy   (N, 21, 2) float32: AFLW's 21 points in crop pixels, NaN where unknown
    teacher68.npy     (N, 68, 3) float16: landmarks that the teachers predict together, in the frame of landmarks68; NaN
                      for profiled and rendered images and where there is no prediction
    identity.npy      (N,) int32: number of the person within the source, -1 where unknown
    attributes.npy    (N, 9) int8: what the source states about the face, 1, 0, or -1 for unknown; the manifest has the
                      names
    blendshapes.npy   (N, 52) float16: scores of MediaPipe's 52 blendshapes (ARKit's names), NaN where unknown
    crop.npy          (N, 3) float64: left, top, scale; image -> crop pixels is u = (x - left) * scale; NaN for profiled
                      and rendered images
    calibration.npz   errors of annotations and predictions (`train.annotate.calibration`)
    teacher_weights.json  weights of the teachers (`train.annotate.teachers`), if there were any

The crop is the square of side sqrt(2) * max(w, h) centred on the 2D box of the label: u = (x - centre) * 120 / side +
59.5. Data sets whose images are such crops already keep their frame.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

import synergy
from bfm_assets import MorphableModel
from synergy.data.annotated_crops import ATTRIBUTES
from synergy.errors import UserError, describe
from train.packs.duplicates import Bits, image_hash, mirrored_hash

CROP_SIZE = 120
VERSION = 3
# Labels with a smaller weight are not used: their fit has failed.
MIN_WEIGHT = 0.05

# What the name of a profiled image adds to that of its photo.
_PROFILED = re.compile(r"#yaw[+-]\d+$")

Row = dict[str, Any]

# The arrays of a row and their types.
ROW: dict[str, Any] = {
    "names": np.str_,
    "sources": np.str_,
    "split": np.str_,
    "landmarks68": np.float32,
    "visibility68": np.int8,
    "params": np.float32,
    "pose_deg": np.float32,
    "weight": np.float32,
    "residual": np.float32,
    "annotated68": np.float32,
    "annotated21": np.float32,
    "teacher68": np.float16,
    "identity": np.int32,
    "attributes": np.int8,
    "blendshapes": np.float16,
    "crop": np.float64,
}


@dataclass(frozen=True)
class Pack:
    """An opened pack. Each array is memory-mapped, read-only, and an attribute of its name.

    Attributes:
        path: its directory.
        manifest: content of manifest.json.
        arrays: the arrays by name.
    """

    path: Path
    manifest: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    @staticmethod
    def is_at(path: str | Path) -> bool:
        """Return whether a path is a directory with a pack."""
        return (Path(path) / "manifest.json").is_file()

    @classmethod
    def open(cls, path: str | Path) -> Pack:
        """Open a pack.

        Raises:
            UserError: the directory holds no complete pack, or one of another version.
        """
        path = Path(path)
        try:
            manifest = json.loads((path / "manifest.json").read_text())
            arrays = {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in manifest["arrays"]}
            arrays["images"] = np.memmap(path / "images.bin", np.uint8, "r")
            version, n_bytes = manifest["version"], int(arrays["offsets"][-1])
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise UserError(f"{path}: not a complete pack ({describe(error)})") from None
        if version != VERSION:
            raise UserError(f"{path}: pack version {version}, this program reads {VERSION}; build it again")
        if len(arrays["images"]) != n_bytes:
            raise UserError(f"{path}: images.bin is cut short")
        return cls(path, manifest, arrays)

    def __len__(self) -> int:
        return len(self.arrays["offsets"]) - 1

    def __getattr__(self, name: str) -> NDArray[Any]:
        try:
            return self.__dict__["arrays"][name]
        except KeyError:
            raise AttributeError(f"pack has no array '{name}'") from None

    def encoded(self, index: int) -> NDArray[np.uint8]:
        """Return the JPEG bytes of image `index`."""
        start, end = self.arrays["offsets"][index : index + 2]
        return np.asarray(self.arrays["images"][start:end])

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return image `index`, (120, 120, 3) uint8 RGB."""
        return np.asarray(cv2.imdecode(self.encoded(index), cv2.IMREAD_COLOR_RGB), np.uint8)


def photo_name(name: str) -> str:
    """Return the name of the photo of a row, which is another than the row's name for a profiled image.

    Example:
        >>> photo_name("face#2.jpg#yaw+45"), photo_name("face#2.jpg")
        ('face#2.jpg', 'face#2.jpg')
    """
    return _PROFILED.sub("", name)


def encode_jpeg(image: NDArray[np.uint8], quality: int = 95) -> bytes:
    """Encode an RGB image as JPEG."""
    return bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


class PackWriter:
    """Write a pack part by part. An interrupted run continues after the last complete part.

    Args:
        path: directory of the pack, created if it is missing.
        identity: what the pack is made from (digests of inputs, options).

    Raises:
        UserError: the directory holds a complete pack, or parts of another identity.
    """

    def __init__(self, path: str | Path, identity: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.identity = json.loads(json.dumps(identity, sort_keys=True, default=str))
        if Pack.is_at(self.path):
            raise UserError(f"{self.path} already holds a complete pack; choose another --out or remove it")
        self._parts = self.path / "parts"
        self._parts.mkdir(parents=True, exist_ok=True)
        identity_file = self._parts / "identity.json"
        if self._written() and json.loads(identity_file.read_text()) != self.identity:
            raise UserError(f"{self.path} holds parts of a pack made from other data or options; remove it first")
        temporary = identity_file.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.identity, sort_keys=True))
        temporary.replace(identity_file)

    def has(self, part: int) -> bool:
        """Return whether part number `part` is written."""
        return (self._parts / f"{part:06d}.npz").exists()

    def write(self, part: int, rows: list[Row], problems: Sequence[str] = ()) -> None:
        """Write part number `part`.

        Args:
            part: its number.
            rows: each with the keys of `ROW`, and "image", (120, 120, 3) uint8 RGB.
            problems: one line for each image of this part that could not be used.
        """
        images = [encode_jpeg(row["image"]) for row in rows]
        arrays: Row = {name: np.array([row[name] for row in rows]).astype(kind) for name, kind in ROW.items()}
        hashes = [[image_hash(row["image"]), mirrored_hash(row["image"])] for row in rows]
        (self._parts / f"{part:06d}.bin").write_bytes(b"".join(images))
        temporary = self._parts / f"{part:06d}.tmp.npz"
        arrays["lengths"] = np.array([len(image) for image in images], np.int64)
        arrays["hashes"] = np.array(hashes, np.int8)
        arrays["problems"] = np.array(problems, np.str_)
        np.savez(temporary, **arrays)
        temporary.rename(self._parts / f"{part:06d}.npz")

    def hashes(self) -> tuple[NDArray[np.str_], Bits]:
        """Return the names (N,) of all written rows and the hashes (N, 2, 256) of their images and mirror images."""
        parts = [np.load(file) for file in self._files()]
        return np.concatenate([p["names"] for p in parts]), np.concatenate([p["hashes"] for p in parts])

    def problems(self) -> list[str]:
        """Return the problems of all written parts, one line each."""
        return [line for file in self._written() for line in np.load(file)["problems"].tolist()]

    def _written(self) -> list[Path]:
        return sorted(file for file in self._parts.glob("*.npz") if ".tmp" not in file.name)

    def _files(self) -> list[Path]:
        """Return the files of the parts that have rows."""
        if not (files := [file for file in self._written() if file.with_suffix(".bin").stat().st_size]):
            raise UserError(f"{self.path}: nothing to write, no usable face was found")
        return files

    def finish(self, manifest: Mapping[str, Any], drop: NDArray[np.bool_] | None = None) -> Pack:
        """Join the parts into the final arrays and write the manifest.

        Args:
            manifest: entries of manifest.json.
            drop: (N,) rows to leave out.

        Raises:
            UserError: there is no row, or all rows are left out.
        """
        files = self._files()
        loaded = [dict(np.load(file)) for file in files]
        joined = {name: np.concatenate([part[name] for part in loaded]) for name in (*ROW, "lengths")}
        keep = np.ones(len(joined["lengths"]), bool) if drop is None else ~drop
        if not keep.any():
            raise UserError(f"{self.path}: nothing to write, all {len(keep)} faces are held out or repeated")
        self._join_images(files, [part["lengths"] for part in loaded], keep)
        content = {**manifest, "n": int(keep.sum()), "identity": self.identity}
        write_arrays(self.path, content, joined["lengths"][keep], lambda name: joined[name][keep])
        for file in self._parts.iterdir():
            file.unlink()
        self._parts.rmdir()
        return Pack.open(self.path)

    def _join_images(self, files: list[Path], lengths: list[NDArray[np.int64]], keep: NDArray[np.bool_]) -> None:
        row = 0
        with (self.path / "images.bin").open("wb") as out:
            for file, sizes in zip(files, lengths, strict=True):
                content, start = file.with_suffix(".bin").read_bytes(), 0
                for size in sizes.tolist():
                    if keep[row]:
                        out.write(content[start : start + size])
                    start, row = start + size, row + 1


def describe_contents(model: MorphableModel) -> dict[str, Any]:
    """Return the entries of a manifest that describe a pack's parameters and attributes.

    Args:
        model: morphable model of the parameters.
    """
    return {
        "model": model.name,
        "model_digest": model.digest,
        "n_shape": model.n_shape,
        "n_expression": model.n_expression,
        "mm_per_unit": model.mm_per_unit,
        "attribute_names": list(ATTRIBUTES),
        "made_by": f"synergy {synergy.__version__}",
    }


def write_arrays(
    path: Path, manifest: Mapping[str, Any], lengths: ArrayLike, column: Callable[[str], NDArray[Any]]
) -> None:
    """Write the arrays of a pack next to its images.bin, and then manifest.json, which makes it complete.

    Args:
        path: directory of the pack.
        manifest: entries of manifest.json, without the names of the arrays and the digests of the files.
        lengths: (N,) number of bytes of each image.
        column: returns the array (N, ...) of a name of `ROW`.
    """
    for name in ROW:
        np.save(path / f"{name}.npy", column(name))
    np.save(path / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    arrays = sorted([*ROW, "offsets"])
    digests = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (*(path / f"{name}.npy" for name in arrays), path / "images.bin")
    }
    whole = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    content = {"version": VERSION, **manifest, "arrays": arrays, "sha256": digests, "hash": whole[:16]}
    temporary = path / "manifest.tmp"
    temporary.write_text(json.dumps(content, indent=1, default=str))
    temporary.rename(path / "manifest.json")
