"""`synergy export`: networks as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synergy.cli.options import BfmOption, MirrorOption
from synergy.errors import UserError
from synergy.registry import WEIGHTS_HELP

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from synergy.deploy.formats import Labelled

_CALIBRATION_CROPS = 256
_VALIDATION_CROPS = 1000


def export(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="onnx, torchscript or openvino.")],
    out: Annotated[Path, typer.Option(help="The file to write. Its description FILE.json is written next to it.")],
    model: Annotated[str, typer.Option(help=WEIGHTS_HELP)] = "synergynet",
    bfm: BfmOption = None,
    mirror: MirrorOption = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="8-bit integers in the backbone (onnx); needs --calibrate.")
    ] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Pack whose crops set the ranges of --int8 and measure its error.")
    ] = None,
) -> None:
    """Write a network as a file for other programs, and check that it predicts what torch predicts.

    [bold]synergy export onnx --out face.onnx[/]                                    fp32
    [bold]synergy export onnx --out face_int8.onnx --int8 --calibrate PACK[/]      faster on CPUs with VNNI

    The file takes uint8 RGB crops (batch, 120, 120, 3) of any batch size and gives landmarks and parameters. Next to it
    lie FILE.json with crop rule, outputs, units and sign conventions, and STEM.bases.bin with the morphable model. An
    exported .onnx file can be given to --model of the commands that predict faces.
    """
    from torch import nn

    from synergy.deploy.exported import description_path
    from synergy.deploy.formats import FORMATS, UNAVAILABLE, export_fp32, export_onnx_int8
    from synergy.engines import CropModel
    from synergy.extras import needs_extra
    from synergy.outputs import require_writable_file
    from synergy.registry import open_network

    if kind in UNAVAILABLE:
        raise UserError(f"{kind}: {UNAVAILABLE[kind]}")
    if kind not in FORMATS:
        raise UserError(f"unknown format {kind}; choose from {', '.join(FORMATS)}")
    if int8 and kind != "onnx":
        raise UserError(f"--int8 is written as onnx, not as {kind}")
    if int8 != (calibrate is not None):
        raise UserError("--int8 and --calibrate PACK go together")
    suffix = FORMATS[kind].suffix
    if out.suffix != suffix:
        raise UserError(f"--out {out}: files of {kind} end in {suffix}")
    for path in (out, description_path(out), out.with_suffix(".bases.bin")):
        require_writable_file(path)
    network = open_network(model, bfm)
    if not isinstance(network, nn.Module):
        raise UserError(f"--model {model}: is an exported model already")
    crop_model = CropModel(network, mirror)
    if kind == "onnx":
        with needs_extra("onnx", "synergy export onnx"):
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
    if calibrate is not None:
        facts = export_onnx_int8(crop_model, out, _read_crops(calibrate, crop_model.size))
        errors, n_float = facts["nme_percent"], facts["convolutions_in_fp32"]
        typer.echo(f"NME on validation crops: fp32 {errors['fp32']} %, int8 {errors['int8']} % of the face box")
        typer.echo(f"the last {n_float} convolutions stay in fp32")
    else:
        facts = export_fp32(kind, crop_model, out, _noise(crop_model.size))
        typer.echo(f"largest distance of landmarks to torch's: {facts['largest_landmark_distance_px']} px")
    typer.echo(f"written: {out}, {description_path(out).name} and {out.with_suffix('.bases.bin').name}")


def _noise(size: int) -> NDArray[np.uint8]:
    """Return random crops (16, size, size, 3), half of them smooth."""
    import cv2
    import numpy as np

    crops = np.random.default_rng(0).integers(0, 256, (16, size, size, 3), dtype=np.uint8)
    for i in range(8):
        crops[i] = cv2.resize(crops[i, :8, :8], (size, size), interpolation=cv2.INTER_CUBIC)
    return crops


def _read_crops(path: Path, size: int) -> Labelled:
    """Choose crops of a pack: training samples to calibrate and validation samples to check, else a random split.

    Raises:
        UserError: not a pack, crops of another size, or too few of them.
    """
    import numpy as np

    from synergy.deploy.formats import Labelled
    from synergy.extras import needs_extra

    with needs_extra("train", "--calibrate"):
        from train.packs.pack import CROP_SIZE, Pack

    pack = Pack.open(path)
    if size != CROP_SIZE:
        raise UserError(f"{path}: has crops of {CROP_SIZE} pixels, the network takes {size}")
    order = np.random.default_rng(0).permutation(len(pack))
    is_validation = np.asarray(pack.split)[order] == "val"
    train, validation = order[~is_validation], order[is_validation]
    if not len(train) or not len(validation):
        train, validation = order[: len(order) // 3], order[len(order) // 3 :]
    if not len(train) or not len(validation):
        raise UserError(f"{path}: has {len(pack)} samples, calibration needs more")
    train, validation = train[:_CALIBRATION_CROPS], validation[:_VALIDATION_CROPS]
    landmarks = np.asarray(pack.landmarks68)[validation, :, :2]
    return Labelled(np.stack([pack.image(i) for i in train]), np.stack([pack.image(i) for i in validation]), landmarks)
