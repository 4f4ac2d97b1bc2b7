"""Landmark networks by name: each file of this folder is one, a `LandmarkNet` under the name `Network`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from synergy.errors import UserError

if TYPE_CHECKING:
    from bfm_assets import MorphableModel
    from synergy.models.landmark_net import LandmarkNet

NETWORKS = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


def build_network(name: str, model: MorphableModel, **options: Any) -> LandmarkNet:
    """Build a landmark network with random weights.

    Args:
        name: one of `NETWORKS`.
        model: morphable model for head pose and mesh.
        options: arguments of its constructor.

    Raises:
        UserError: unknown name or option, or a value that the network does not allow.

    Example:
        >>> from bfm_assets import open_face
        >>> build_network("direct", open_face(), width=0.25).size
        120
    """
    if name not in NETWORKS:
        raise UserError(f"unknown network '{name}'; choose from {', '.join(NETWORKS)}")
    network = cast("type[LandmarkNet]", import_module(f"{__name__}.{name}").Network)
    try:
        return network(model, **options)
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error).partition("\n")[0].replace("Network.__init__() ", "").replace("__init__() ", "")
        raise UserError(f"network '{name}': {reason}") from None
