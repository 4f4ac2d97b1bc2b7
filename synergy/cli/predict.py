"""`synergy predict`: images, folders, videos or standard input to landmarks, pose and meshes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synergy.cli.options import BfmOption, NetworkOption, Renderer, RendererOption
from synergy.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from synergy.face import Face
    from synergy.predictor import FacePredictor

    Image = NDArray[np.uint8]
    Painter = Callable[[Image, list[Face]], Image]

FORMATS = ("json", "csv", "pts", "overlay", "mesh", "obj", "ply", "glb")
DEFAULT_FORMATS = "json,overlay,mesh"
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})
_VIDEO_BATCH = 16


def predict(
    inputs: Annotated[
        list[str], typer.Argument(metavar="IMAGE|DIR|VIDEO|-", help="What to read; - is one image on stdin.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out"),
    formats: Annotated[
        str, typer.Option("--format", help=f"Comma-separated list of {', '.join(FORMATS)}.")
    ] = DEFAULT_FORMATS,
    boxes: Annotated[
        Path | None,
        typer.Option(help='JSON {"photo.jpg": [[x0, y0, x1, y1], ...]}: faces to use instead of the detector\'s.'),
    ] = None,
    model: NetworkOption = "synergynet",
    bfm: BfmOption = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Mean with the mirrored face: more accurate, twice the time.")
    ] = False,
    threshold: Annotated[float, typer.Option(help="Lowest detector score that counts as a face.")] = 0.35,
    renderer: RendererOption = Renderer.BUILTIN,
) -> None:
    """Find faces and write their landmarks, pose and meshes.

    [bold]synergy predict photo.jpg[/]                      landmarks and mesh drawn, all numbers in predictions.json
    [bold]synergy predict photos/ --format csv,pts[/]      a table, and 300-W .pts files
    [bold]synergy predict clip.mp4[/]                       an annotated video, all numbers per frame
    [bold]synergy predict photo.jpg --format glb[/]        a textured mesh for Blender

    A file that cannot be read is named and skipped; the exit status is then 2.
    """
    from rich.console import Console
    from rich.progress import track

    from synergy.detect import CenterFace
    from synergy.draw import mesh_overlay
    from synergy.export import MESH_FORMATS, write_csv, write_json
    from synergy.predictor import FacePredictor
    from synergy.raster import rasterizer
    from synergy.registry import open_network

    wanted = [name.strip() for name in formats.split(",") if name.strip()]
    if unknown := sorted(set(wanted) - set(FORMATS)):
        raise UserError(f"unknown format {', '.join(unknown)}; choose from {', '.join(FORMATS)}")
    draw_meshes = partial(mesh_overlay, rasterizer=rasterizer(renderer.value))
    given = _read_boxes(boxes)
    sources = _sources(inputs)
    _check_device(device)
    predictor = FacePredictor(open_network(model, bfm), CenterFace(threshold), device, mirror=mirror)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not predictor.net.morphable_model.is_dense and (meshes := {"mesh", *MESH_FORMATS} & set(wanted)):
        name = predictor.net.morphable_model.name
        if formats != DEFAULT_FORMATS:
            raise UserError(
                f"--format {','.join(sorted(meshes))}: '{name}' has landmark vertices only, there is no mesh"
            )
        console.print(f"no meshes are drawn: '{name}' has landmark vertices only")
        wanted.remove("mesh")
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[Face]] = {}
    failed = 0
    try:
        for name, source in track(sources.items(), "Predicting", console=console, disable=len(sources) == 1):
            try:
                if isinstance(source, Path) and source.suffix.lower() in VIDEO_SUFFIXES:
                    if meshes := set(wanted) & {*MESH_FORMATS, "pts"}:
                        raise UserError(
                            f"{name}: {', '.join(sorted(meshes))} would be a file per frame; not for videos"
                        )
                    results |= _video(predictor, name, source, out, wanted, draw_meshes)
                else:
                    results[name] = _image(predictor, name, source, out, wanted, given.get(name), draw_meshes)
            except (UserError, ValueError) as error:
                failed += 1
                console.print(f"[red]skipped:[/] {error}")
    finally:
        if "json" in wanted:
            write_json(out / "predictions.json", results)
        if "csv" in wanted:
            write_csv(out / "predictions.csv", results)
    n_faces = sum(map(len, results.values()))
    empty = [name for name, faces in results.items() if not faces]
    console.print(f"{n_faces} face(s) in {len(results)} image(s), results in {out}/")
    if empty:
        console.print(f"[yellow]no face found in {len(empty)}:[/] {', '.join(empty[:10])}{' ...' * (len(empty) > 10)}")
    if failed:
        raise UserError(f"{failed} of {len(sources)} inputs could not be used")


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{device}' cannot be used ({str(error).splitlines()[0]})") from None


def _read_boxes(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    try:
        boxes = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(boxes, dict):
        raise UserError(f'{path}: expected {{"photo.jpg": [[x0, y0, x1, y1], ...]}}')
    return boxes


def _sources(inputs: list[str]) -> dict[str, Path | bytes]:
    """Unique name to file (or the bytes of standard input) for all inputs; folders are searched recursively."""
    from synergy.folders import files_below
    from synergy.images import IMAGE_SUFFIXES

    suffixes = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    sources: dict[str, Path | bytes] = {}
    for item in inputs:
        path = Path(item)
        if item == "-":
            sources["stdin"] = sys.stdin.buffer.read()
        elif path.is_dir():
            files = [file for file in files_below(path) if file.suffix.lower() in suffixes]
            if not files:
                raise UserError(f"{path}: no images or videos in this folder ({', '.join(sorted(suffixes))})")
            sources |= {str(file.relative_to(path)) if len(inputs) == 1 else str(file): file for file in files}
        elif path.exists():
            sources[path.name if len(inputs) == 1 else str(path)] = path
        else:
            raise UserError(f"{item}: no such file or folder")
    return sources


def _image(
    predictor: FacePredictor,
    name: str,
    source: Path | bytes,
    out: Path,
    wanted: list[str],
    boxes: object,
    draw_meshes: Painter,
) -> list[Face]:
    from synergy.draw import overlay
    from synergy.export import MESH_FORMATS, write_mesh, write_pts
    from synergy.images import read_image, write_image

    image = read_image(source, name)
    faces = predictor(image) if boxes is None else predictor(image, boxes=boxes)  # type: ignore[arg-type]
    stem = _stem(name)
    if "overlay" in wanted:
        write_image(out / f"{stem}_overlay.jpg", overlay(image, faces))
    if "mesh" in wanted and faces:
        write_image(out / f"{stem}_mesh.jpg", draw_meshes(image, faces))
    for i, face in enumerate(faces):
        suffix = f"_{i}" if len(faces) > 1 else ""
        if "pts" in wanted:
            write_pts(out / f"{stem}{suffix}.pts", face.landmarks68)
        for kind in MESH_FORMATS:
            if kind in wanted:
                write_mesh(out / f"{stem}{suffix}.{kind}", face, image)
    return faces


def _stem(name: str) -> str:
    """A flat file name for an input's name: folders become underscores, the suffix goes where it is the usual one."""
    path = Path(name)
    flat = "_".join(part for part in path.parts if part not in ("/", "..", "."))
    return flat.removesuffix(path.suffix) if path.suffix.lower() in {".jpg", *VIDEO_SUFFIXES} else flat


def _video(
    predictor: FacePredictor, name: str, path: Path, out: Path, wanted: list[str], draw_meshes: Painter
) -> dict[str, list[Face]]:
    import cv2
    from rich.progress import track

    from synergy.draw import overlay

    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise UserError(f"{name}: cannot be read as a video")
    painters = {kind: paint for kind, paint in (("overlay", overlay), ("mesh", draw_meshes)) if kind in wanted}
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    writers = {
        kind: cv2.VideoWriter(str(out / f"{_stem(name)}_{kind}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
        for kind in painters
    }
    results: dict[str, list[Face]] = {}
    total = max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) // _VIDEO_BATCH)
    try:
        for batch in track(_frames(capture), name, total=total):
            for image, faces in zip(batch, predictor.predict_batch(batch), strict=True):
                results[f"{name}#{len(results):06d}"] = faces
                for kind, paint in painters.items():
                    writers[kind].write(paint(image, faces)[..., ::-1])
    finally:
        capture.release()
        for writer in writers.values():
            writer.release()
    if not results:
        raise UserError(f"{name}: the video has no frame that can be read")
    return results


def _frames(capture: object) -> Iterator[list[Image]]:
    """The frames of an OpenCV capture as RGB, in batches."""
    batch: list[Image] = []
    while True:
        ok, frame = capture.read()  # type: ignore[attr-defined]
        if ok:
            batch.append(frame[..., ::-1].copy())
        if batch and (not ok or len(batch) == _VIDEO_BATCH):
            yield batch
            batch = []
        if not ok:
            return
