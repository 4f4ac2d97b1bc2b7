"""Export of a checkpoint as a weights file with its description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bfm_assets import read_model
from synergy.camera import preferred_projection
from synergy.checkpoints import read_checkpoint
from synergy.errors import UserError
from synergy.models import SynergyNet
from synergy.weights import build, save_weights
from train.data import load_training_faces, load_validation_sets, validation_loader
from train.expression_head import refit_expression_head
from train.packs.pack import Pack
from train.validation import score_network
from train.warm_start import checkpoint_architecture, net_state, require_same_model


def export_checkpoint(
    checkpoint: Path,
    pack: Path | None,
    out: Path,
    command: str = "",
    model: str = "",
    refit_expression: Path | None = None,
) -> dict[str, Any]:
    """Write the averaged weights of a run as `.safetensors`, with a `.json` description next to it.

    The description has the figures on the validation sets of the pack (`train.validation.FaceScores`), the training
    command, the git revision of the training code and the hash of the pack.

    Args:
        checkpoint: file of a training run.
        pack: directory of the pack whose validation sets score the network. Without one, for example after training on
            FaceSynthetics, the description has no validation figures.
        out: the `.safetensors` file to write.
        command: command that started the run, for the description.
        model: name or file of the morphable model; by default the one that the checkpoint names.
        refit_expression: directory of the pack to whose training labels the expression head is fitted
            (`train.expression_head`).

    Returns:
        The figures and facts in the description.

    Raises:
        UserError: the checkpoint cannot be read, is not of a training run, or would run code; a SynergyNet was trained
            with another morphable model, or its uncertainty is not calibrated because its training did not end; the
            pack cannot be read; the folder of `out` does not exist; or `refit_expression` for a landmark network.
    """
    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise UserError(f"{out}: weights are written as .safetensors into an existing folder")
    content = read_checkpoint(checkpoint)
    state = net_state(content, checkpoint)
    if missing := [key for key in ("hyper_parameters", "global_step", "git") if key not in content]:
        raise UserError(f"{checkpoint}: not a checkpoint of `synergy train`, it lacks {', '.join(missing)}")
    options = content["hyper_parameters"]
    model = model or options["model"]
    morphable_model = read_model(model)
    net = build(checkpoint_architecture(content), morphable_model)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{checkpoint}: its weights do not fit the morphable model '{model}' ({reason})") from None
    if isinstance(net, SynergyNet):
        require_same_model(checkpoint, content.get("morphable_model", ""), morphable_model)
        net.projection = preferred_projection()
        if net.uncertainty is not None and (net.uncertainty.temperature == 1).all():
            raise UserError(f"{checkpoint}: the uncertainty is not calibrated yet; continue the run to its end first")
    metadata: dict[str, Any] = {
        "training": {
            "command": command,
            "seed": options["seed"],
            "steps": content["global_step"],
            "git": content["git"],
        },
        "data": {"licence": "research data: see MODEL_CARD.md"},
    }
    if refit_expression is not None:
        if not isinstance(net, SynergyNet):
            raise UserError(f"{checkpoint}: a landmark network has no expression head; leave out --refit-expression")
        labelled = Pack.open(refit_expression)
        n_faces = refit_expression_head(net.eval(), load_training_faces(labelled, morphable_model))
        metadata["training"]["expression_head"] = {"pack": labelled.manifest["hash"], "faces": n_faces}
    if pack is not None:
        scored = Pack.open(pack)
        validation_sets = load_validation_sets(scored, morphable_model)
        metadata["validation"] = {
            name: {key: round(value, 3) for key, value in score_network(net, validation_loader(faces)).items()}
            for name, faces in validation_sets.items()
        }
        n_scored = sum(map(len, validation_sets.values()))
        metadata["data"]["pack"] = {"hash": scored.manifest["hash"], "validation": n_scored}
    save_weights(net, out, metadata, morphable_model)
    return metadata
