"""Weights on disk: a `.safetensors` file with a `.json` beside it that says what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from bfm_assets import MorphableModel, open_face
from synergy.errors import UserError
from synergy.models.synergynet import SynergyNet

DEFAULT = "synergynet"


def bundled_weights() -> dict[str, Path]:
    """Name to `.safetensors` path of the weights that ship with the package."""
    folder = Path(str(files("synergy") / "assets"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def save_weights(net: SynergyNet, path: str | Path, metadata: Mapping[str, Any], model: MorphableModel) -> None:
    """Write `path` (`.safetensors`) and the `.json` beside it.

    Only what prediction needs is kept: the landmark-to-3DMM branch serves training alone. The JSON holds the
    architecture, the name and digest of the morphable model, and `metadata` (metrics, training command, data hash...).
    """
    from safetensors.torch import save_file

    path = Path(path)
    tensors = {
        name: tensor.detach().float().cpu().contiguous()
        for name, tensor in net.state_dict().items()
        if not name.startswith("landmark_to_3dmm.") and not name.endswith("num_batches_tracked")
    }
    save_file(tensors, path)
    facts = {
        "name": path.stem,
        "architecture": net.architecture,
        "morphable_model": {"name": model.name, "digest": model.digest},
        **metadata,
    }
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")


def load(name_or_path: str | Path = DEFAULT, morphable_model: MorphableModel | None = None) -> SynergyNet:
    """The network of bundled weights (by name) or of a `.safetensors` file, in evaluation mode on the CPU.

    Args:
        name_or_path: a name from `bundled_weights()`, or a path.
        morphable_model: needed for weights that were not trained on the bundled open face.

    Raises:
        UserError: no such weights, not a weights file, or weights of another morphable model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = bundled_weights().get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        names = ", ".join(bundled_weights()) or "none"
        raise UserError(f"no weights '{name_or_path}': not a file, and the bundled ones are: {names}")
    try:
        facts = json.loads(path.with_suffix(".json").read_text())
        architecture, wanted = facts["architecture"], facts["morphable_model"]
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: its description {error.filename} is missing") from None
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not Synergy weights ({type(error).__name__}: {error})") from None
    model = open_face() if morphable_model is None else morphable_model
    if model.digest != wanted["digest"]:
        raise UserError(
            f"{path}: trained with morphable model '{wanted['name']}' ({wanted['digest']}), "
            f"got '{model.name}' ({model.digest})"
        )
    try:
        net = SynergyNet(model, **architecture)
        result = net.load_state_dict(tensors, strict=False)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: does not fit its architecture ({str(error).splitlines()[0]})") from None
    missing = [
        key
        for key in result.missing_keys
        if not key.startswith("landmark_to_3dmm.") and not key.endswith("num_batches_tracked")
    ]
    if missing or result.unexpected_keys:
        raise UserError(f"{path}: does not fit its architecture ({(missing + result.unexpected_keys)[0]})")
    net.model_id = facts["name"]
    return net.eval()
