"""Weights on disk: a `.safetensors` file and a `.json` file of the same stem that says what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import Tensor

from bfm_assets import MorphableModel, open_face
from synergy.errors import UserError, describe
from synergy.models.landmark_net import LandmarkNet
from synergy.models.synergynet import SynergyNet
from synergy.networks import build_network

DEFAULT = "synergynet"


def bundled_weights() -> dict[str, Path]:
    """Return name and `.safetensors` path of the weights that ship with the package."""
    folder = Path(str(files("synergy") / "assets"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def decides_predictions(name: str) -> bool:
    """Say whether a tensor of a network's state has a part in predictions; the others serve training alone.

    These are the landmark-to-3DMM network of SynergyNet, and modules of landmark networks with the name `auxiliary`.
    """
    return not name.startswith(("landmark_to_3dmm.", "auxiliary.")) and not name.endswith("num_batches_tracked")


def save_weights(
    net: SynergyNet | LandmarkNet, path: str | Path, metadata: Mapping[str, Any], model: MorphableModel
) -> None:
    """Write weights and their description, a `.json` with the same stem.

    Args:
        net: the network. Only what prediction needs is written.
        path: the `.safetensors` file.
        metadata: added to the description, for example metrics, the training command and a hash of the data.
        model: the network's morphable model, which the description names by its digest.
    """
    from safetensors.torch import save_file

    path = Path(path)
    tensors = {
        name: tensor.detach().float().cpu().contiguous()
        for name, tensor in net.state_dict().items()
        if decides_predictions(name)
    }
    save_file(tensors, path)
    facts = {
        "name": path.stem,
        "architecture": net.architecture,
        "morphable_model": {"name": model.name, "digest": model.digest},
        **metadata,
    }
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the description and the tensors of a weights file.

    Returns:
        The description, with at least "name", "architecture" (see `build`) and "morphable_model"; and the
        tensors by their name in the network's state.

    Raises:
        UserError: one of the two files is missing or damaged, or a value is not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        facts = json.loads(path.with_suffix(".json").read_text())
        facts = {**facts, "name": str(facts["name"]), "architecture": dict(facts["architecture"])}
        _ = facts["morphable_model"]["name"], facts["morphable_model"]["digest"]
        tensors = load_file(path)
        broken = [key for key, tensor in tensors.items() if not tensor.isfinite().all()]
    except FileNotFoundError as error:
        raise UserError(f"{path}: its description {error.filename} is missing") from None
    except KeyError as error:
        raise UserError(f"{path}: its description {path.with_suffix('.json').name} has no {error}") from None
    # RuntimeError: types of numbers that torch cannot test, and descriptions that are nested too deeply.
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{path}: not Synergy weights ({describe(error)})") from None
    if broken:
        raise UserError(f"{path}: {broken[0]} has values that are not finite")
    return facts, tensors


def build(architecture: Mapping[str, Any], model: MorphableModel) -> SynergyNet | LandmarkNet:
    """Build a network with random weights.

    Args:
        architecture: arguments of `SynergyNet`; or "network", a name of `synergy.networks`, and its options.
        model: its morphable model.

    Raises:
        UserError: unknown landmark network, or wrong options of it.
        TypeError: wrong arguments of `SynergyNet`.
        ValueError: unknown backbone.
    """
    options = dict(architecture)
    network = options.pop("network", None)
    return SynergyNet(model, **options) if network is None else build_network(network, model, **options)


def load(name_or_path: str | Path = DEFAULT, morphable_model: MorphableModel | None = None) -> SynergyNet | LandmarkNet:
    """Load a network from bundled weights or from a `.safetensors` file, in evaluation mode on the CPU.

    Args:
        name_or_path: a name from `bundled_weights()`, or a path.
        morphable_model: needed for weights of a `SynergyNet` that were not trained on the bundled open face. Landmark
            networks work with any; the open face by default.

    Returns:
        The network. `FacePredictor` takes it. Called alone, it takes crops (B, 3, size, size), RGB in 0..255.

    Raises:
        UserError: no such weights, not a weights file, weights of another morphable model, or weights that are not
            finite.

    Example:
        >>> net = load()
        >>> net.model_id, net.size
        ('synergynet', 120)
    """
    path = bundled_weights().get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        names = ", ".join(bundled_weights()) or "none"
        raise UserError(f"no weights '{name_or_path}': not a file, and the bundled ones are: {names}")
    facts, tensors = read_weights(path)
    wanted_name, wanted_digest = facts["morphable_model"]["name"], facts["morphable_model"]["digest"]
    model = open_face() if morphable_model is None else morphable_model
    if "network" not in facts["architecture"] and model.digest != wanted_digest:
        raise UserError(
            f"{path}: trained with morphable model '{wanted_name}' ({wanted_digest}), "
            f"got '{model.name}' ({model.digest}); give that model with --bfm, or as `morphable_model`"
        )
    try:
        net = build(facts["architecture"], model)
        result = net.load_state_dict(tensors, strict=False)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: does not fit its architecture ({str(error).splitlines()[-1].strip()})") from None
    missing = [key for key in result.missing_keys if decides_predictions(key)]
    if missing or result.unexpected_keys:
        raise UserError(f"{path}: does not fit its architecture ({(missing + result.unexpected_keys)[0]})")
    net.model_id = facts["name"]
    return net.eval()
