"""`python -m train.export CHECKPOINT --pack PACK --out FILE.safetensors`: a run's averaged weights as they ship.

The network is scored on the pack's validation sets, and the figures, the training command, the git revision that
trained and the pack's hash go into the JSON beside the weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from bfm_assets import ModelFileError, read_model
from synergy.camera import preferred_projection
from synergy.checkpoints import read_checkpoint
from synergy.errors import UserError
from synergy.models import SynergyNet
from synergy.weights import save_weights
from train.data import PackData
from train.module import net_state
from train.validation import FaceScores, has_crop_box


def export(checkpoint: Path, pack: Path, out: Path, command: str, model: str = "") -> dict[str, Any]:
    """Write `out` and its JSON.

    Args:
        checkpoint: file of a run of `SynergyModule`.
        pack: pack whose validation sets score the network.
        command: how the run was started.
        model: name or file of the morphable model, the checkpoint's own unless given.

    Returns:
        The metadata in the JSON.

    Raises:
        UserError: the checkpoint cannot be read, is of something else, or would run code.
    """
    content = read_checkpoint(checkpoint)
    state = net_state(content, checkpoint)
    if missing := [key for key in ("hyper_parameters", "global_step", "git") if key not in content]:
        raise UserError(f"{checkpoint}: not a checkpoint of `synergy train`, it lacks {', '.join(missing)}")
    options = content["hyper_parameters"]
    model = model or options["model"]
    morphable_model = read_model(model)
    net = SynergyNet(morphable_model, options["backbone"], options["width"])
    net.load_state_dict(state)
    net.projection = preferred_projection()
    data = PackData(pack, model)
    metadata = {
        "validation": {
            name: score(net, loader, has_crop_box(name))
            for name, loader in zip(data.validation_sets, data.val_dataloader(), strict=True)
        },
        "training": {
            "command": command,
            "options": {key: options[key] for key in ("seed", "mixed")},
            "steps": content["global_step"],
            "git": content["git"],
        },
        "data": {"pack": data.facts, "licence": "research data: see MODEL_CARD.md"},
    }
    save_weights(net, out, metadata, morphable_model)
    return metadata


@torch.no_grad()
def score(net: SynergyNet, loader: DataLoader[Any], box_of_crop: bool) -> dict[str, float]:
    """`FaceScores` of a network on one validation set, rounded."""
    net.eval()
    scores = FaceScores(box_of_crop)
    for batch in loader:
        scores.update(batch, net(batch.image))
    return {key: round(value, 3) for key, value in scores.compute().items()}


def main() -> None:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--command", default="", help="how the run was started, for the JSON")
    parser.add_argument("--model", default="", help="morphable model, where the checkpoint's own path has moved")
    try:
        export(**vars(parser.parse_args()))
    except (UserError, ModelFileError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
