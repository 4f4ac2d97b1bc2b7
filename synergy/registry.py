"""Networks by specification: the bundled weights, a weights file of this project, or a checkpoint of another project.

A specification is what `--model` takes: `synergynet` (bundled weights), `FILE.safetensors`, `FILE.onnx` that `synergy
export` wrote, `NETWORK:FILE.safetensors` for a landmark network of `synergy.networks`, or `FAMILY:FILE` for a
checkpoint of another project. A new family is one entry of `FAMILIES`; a new landmark network is one file in
`synergy/networks/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synergy.errors import UserError
from synergy.networks import NETWORKS

if TYPE_CHECKING:
    from synergy.engines import Network

# What 3DDFA_V2, and 3DDFA and SynergyNet, call the whitening that lies next to their BFM.
_WHITENING_FILES = ("param_mean_std_62d_120x120.pkl", "param_whitening.pkl")
BFM_HELP = "A Basel Face Model in any form that synergy assets reads: for weights that were trained with one."


@dataclass(frozen=True)
class Family:
    """Checkpoints of one other project.

    Attributes:
        description: what the checkpoint is.
        load: reads a checkpoint and the morphable model at the second path.
    """

    description: str
    load: Callable[[Path, Path], Network]


def open_network(spec: str, bfm: str | Path | None = None) -> Network:
    """Load the network that a specification names, in evaluation mode on the CPU.

    Args:
        spec: name of bundled weights, path of a `.safetensors` or exported `.onnx` file, `NETWORK:FILE.safetensors`, or
            `FAMILY:FILE`.
        bfm: Basel Face Model, in any form that `bfm_assets.read_model` reads. Foreign checkpoints need one, and so do
            weights of this project that were trained with one; the others ignore it.

    Raises:
        UserError: unknown family or weights, a missing BFM, or a file that is not what it should be.
        ModelFileError: the BFM cannot be read.

    Example:
        >>> open_network("synergynet").model_id
        'synergynet'
    """
    name, separator, file = spec.partition(":")
    if not separator or Path(spec).exists():
        return _open_own(spec, bfm)
    if name not in FAMILIES and name not in NETWORKS:
        known = ", ".join(f"{family}:FILE" for family in (*FAMILIES, *NETWORKS))
        raise UserError(f"--model {spec}: unknown family '{name}'; known are {known}")
    if not Path(file).is_file():
        raise UserError(f"--model {spec}: there is no file '{file}'")
    if name in NETWORKS:
        return _open_landmark_network(name, file, bfm)
    if bfm is None:
        raise UserError(f"--model {spec}: {FAMILIES[name].description} needs a Basel Face Model, give one with --bfm")
    return FAMILIES[name].load(Path(file), Path(bfm))


def _open_own(spec: str, bfm: str | Path | None) -> Network:
    from bfm_assets import MorphableModel, read_model
    from synergy.deploy.exported import ExportedNetwork
    from synergy.weights import load

    def open_with(model: MorphableModel | None) -> Network:
        return ExportedNetwork(spec, model) if spec.endswith(".onnx") else load(spec, model)

    try:
        return open_with(None)
    except UserError:
        if bfm is None:
            raise
    return open_with(read_model(bfm))


def _open_landmark_network(name: str, file: str, bfm: str | Path | None) -> Network:
    net = _open_own(file, bfm)
    found = getattr(net, "architecture", {}).get("network", "synergynet")
    if found != name:
        raise UserError(f"--model {name}:{file}: these are weights of the network '{found}'")
    return net


def _open_tddfa_v2(checkpoint: Path, bfm: Path) -> Network:
    from bfm_assets import read_model
    from synergy.compat import load_tddfa_v2
    from synergy.compat.whitening import read_whitening

    return load_tddfa_v2(checkpoint, read_model(bfm), read_whitening(_whitening_file(bfm)))


def _open_synergynet(refine: bool) -> Callable[[Path, Path], Network]:
    def load(checkpoint: Path, bfm: Path) -> Network:
        from bfm_assets import read_model
        from synergy.compat import load_synergynet

        return load_synergynet(checkpoint, read_model(bfm), refine=refine)

    return load


def _whitening_file(bfm: Path) -> Path:
    """Find the whitening of 3DDFA's parameters that comes with a BFM: in the 68-point basis, or in a file next to it.

    Raises:
        UserError: there is none.
    """
    from bfm_assets.safe_files import read_arrays

    if bfm.suffix == ".npz" and "param_std62" in read_arrays(bfm, (), "morphable model"):
        return bfm
    folder = bfm if bfm.is_dir() else bfm.parent
    found = [path for path in (folder / name for name in _WHITENING_FILES) if path.is_file()]
    if not found:
        names = " or ".join(_WHITENING_FILES)
        raise UserError(f"{bfm}: the whitening of the parameters is missing, put {names} next to it")
    return found[0]


FAMILIES = {
    "3ddfa_v2": Family("3DDFA_V2's MobileNetV1 (mb1_120x120.pth, mb05_120x120.pth)", _open_tddfa_v2),
    "synergynet": Family("SynergyNet's MobileNetV2 (best.pth.tar)", _open_synergynet(refine=False)),
    "synergynet_mafa": Family("SynergyNet's MobileNetV2 with its MAFA", _open_synergynet(refine=True)),
}

_FAMILY_NAMES = ", ".join((*FAMILIES, *NETWORKS))
WEIGHTS_HELP = (
    "Bundled weights (synergynet, or the faster synergynet_small), a .safetensors file, or FAMILY:FILE with FAMILY one "
    f"of {_FAMILY_NAMES}."
)
MODEL_HELP = f"{WEIGHTS_HELP} Or an .onnx file of synergy export."
