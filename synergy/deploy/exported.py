"""Exported ONNX models as networks of this program."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from bfm_assets import MorphableModel, open_face
from synergy.errors import UserError, describe

# What the description names as its format, and the version of its keys.
FORMAT, VERSION = "synergy-model", 1


class ExportedNetwork:
    """An ONNX file that `synergy export` wrote. Only the engine onnxruntime can run it.

    Attributes:
        model: the bytes of the file.
        size: side of the crops in pixels.
        margin: side of the crops in units of the longer side of the landmarks' box.
        model_id: name of the weights, and the precision if it is not fp32.
        morphable_model: the morphable model of the predicted parameters.
        outputs: the fields of `synergy.engines.CropPredictions` that the file predicts.
        digest: identifies the content of the file.
        path: the file, for messages.
    """

    def __init__(self, path: str | Path, morphable_model: MorphableModel | None = None) -> None:
        """Read a model and its description.

        Args:
            path: the `.onnx` file.
            morphable_model: needed for models of other parameters than those of the bundled open face.

        Raises:
            UserError: the file or its description cannot be used, or belongs to another morphable model.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"no model '{path}': there is no such file")
        facts = read_description(self.path)
        self.morphable_model = open_face() if morphable_model is None else morphable_model
        wanted = facts["morphable_model"]
        if self.morphable_model.digest != wanted["digest"]:
            raise UserError(
                f"{path}: made for morphable model '{wanted.get('name')}' ({wanted['digest']}), "
                f"got '{self.morphable_model.name}' ({self.morphable_model.digest}); give that model with --bfm"
            )
        self.model = self.path.read_bytes()
        self.size = int(facts["input"]["shape"][1])
        self.margin = float(facts["crop"]["margin"])
        self.model_id = str(facts["name"]) + ("" if facts["precision"] == "fp32" else f" {facts['precision']}")
        self.outputs = tuple(output["name"] for output in facts["outputs"])
        self.digest: str = facts["sha256"]


def description_path(path: Path) -> Path:
    """Return the path of the description of an exported model: `face.onnx.json` for `face.onnx`."""
    return path.with_name(path.name + ".json")


def read_description(path: Path) -> dict[str, Any]:
    """Read and check the description of an exported model.

    Args:
        path: the file of the model.

    Raises:
        UserError: the description is missing, is not one, or belongs to another file.
    """
    described_in = description_path(path)
    try:
        facts: dict[str, Any] = json.loads(described_in.read_text())
        if facts["format"] != FORMAT or facts["version"] != VERSION:
            raise UserError(f"{described_in}: not the description of a model that this program can read")
        needed = [facts["name"], facts["precision"], facts["morphable_model"]["digest"], facts["sha256"]]
        needed += [output["name"] for output in facts["outputs"]]
        if not all(isinstance(value, str) for value in needed):
            raise TypeError
        if int(facts["input"]["shape"][1]) < 1 or not 0 < float(facts["crop"]["margin"]) < math.inf:
            raise TypeError
    except FileNotFoundError:
        raise UserError(f"{path}: its description {described_in.name} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{described_in}: cannot be read as JSON ({describe(error)})") from None
    except KeyError as error:
        raise UserError(f"{described_in}: not the description of an exported model ({error} is missing)") from None
    except (TypeError, IndexError, OverflowError):
        raise UserError(f"{described_in}: not the description of an exported model (a value is not valid)") from None
    if hashlib.sha256(path.read_bytes()).hexdigest() != facts["sha256"]:
        raise UserError(f"{path}: not the file that {described_in.name} describes, or it is cut short")
    return facts
