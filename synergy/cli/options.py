"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from synergy.defaults import LEAST_MIN_FACE
from synergy.errors import UserError
from synergy.registry import BFM_HELP, MODEL_HELP


class Roll(StrEnum):
    """Names of `synergy.upright.ROLLS`."""

    AUTO = "auto"
    ANY = "any"
    UPRIGHT = "upright"


class Renderer(StrEnum):
    """Names of `synergy.raster.rasterizer`."""

    BUILTIN = "builtin"
    PYTORCH3D = "pytorch3d"


class EngineName(StrEnum):
    """Names of `synergy.engines.ENGINES`."""

    AUTO = "auto"
    TORCH = "torch"
    ONNXRUNTIME = "onnxruntime"


class Place(StrEnum):
    """Where images are predicted."""

    LOCAL = "local"
    RAY = "ray"


RedoOption = Annotated[
    bool, typer.Option("--redo", help="Repeat steps whose command or inputs changed; the old folders are kept.")
]
TimeLimitOption = Annotated[
    float | None, typer.Option(help="Stop after this many seconds; exit status 3 if steps are left.")
]
NetworkOption = Annotated[str, typer.Option(help=MODEL_HELP)]
MirrorOption = Annotated[
    bool,
    typer.Option(
        "--mirror",
        help="Predict each face and its mirror image, and take the mean: slightly more accurate, twice the time.",
    ),
]
BfmOption = Annotated[Path | None, typer.Option(help=BFM_HELP)]
RendererOption = Annotated[
    Renderer, typer.Option(help="Draws the meshes: builtin, or pytorch3d (on the GPU where there is one) if installed.")
]
EngineOption = Annotated[
    EngineName,
    typer.Option(help="Runs the network; auto is onnxruntime on the CPU if it is installed (extra onnx), else torch."),
]
MinFaceOption = Annotated[
    float | None,
    typer.Option(
        min=LEAST_MIN_FACE,
        help="Smallest face that is wanted: its longer side in pixels. Larger is faster. By default 32, or 1/48 of "
        "the longer side of large images.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads on the CPU. By default the detector uses up to 4. For the network, onnxruntime uses 1, and torch "
        "its own number.",
        show_default=False,
    ),
]


def positive_numbers(option: str, text: str) -> tuple[int, ...]:
    """Read a comma-separated list of positive whole numbers.

    Raises:
        UserError: it is none.
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise UserError(f"{option} {text}: expected positive whole numbers with commas, for example 1,2")
    return numbers
