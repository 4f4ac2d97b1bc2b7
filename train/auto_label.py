"""Iterative automatic labelling: a network labels photos, and is trained again with these labels.

Round 0 trains a network on labelled faces alone. Each further round

1. predicts the photos with the network of the round before (`train.annotate.predictions.predict_photos`),
2. keeps the predictions with the smallest uncertainty,
3. fits labels to them and to the annotations that the photos have, and leaves out copies of each other and of the
   labelled faces (`train.annotate.pipeline`),
4. trains a network on the labelled faces and on these labels, with the options of round 0.

The networks of all rounds are scored on the validation faces of the labelled pack, which are never trained on. Because
all rounds train for equally many steps from the same start, the curve over the rounds shows the effect of the labels.

The rounds are the steps of a recipe (`train.recipe`), which records them and continues after an interruption.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bfm_assets import open_face, read_model
from synergy.data.opening import open_reader
from synergy.errors import UserError
from synergy.extras import needs_extra
from train.packs.pack import MIN_WEIGHT, Pack
from train.recipe import read_recipe
from train.recipe_run import RecipeRun

SOURCE = "automatic"
"""Name of the automatic labels among the sources of a pack."""

TRAINING = "--config synergynet --logger csv --data.sampling_weights null --trainer.max_steps 6000"
"""Options of `synergy train fit` by default."""

# The figures of the curve, as `train.validation.FaceScores` names them.
_FIGURES = ("nme_all", "inner_all", "label_nme_all", "pose_all")


@dataclass(frozen=True)
class AutoOptions:
    """Options of automatic labelling.

    Attributes:
        photos: photos without annotations, or a data set that `synergy label build` reads.
        labelled: pack with training samples, and with validation samples for the curve.
        rounds: number of rounds after round 0.
        keep: fraction of the predictions to keep in each round.
        training: options of `synergy train fit`.
        network: name of the trained landmark network (`synergy.networks`); empty for SynergyNet.
        model: morphable model of the labelled pack; the bundled open face by default.
    """

    photos: Path
    labelled: Path
    rounds: int = 3
    keep: float = 0.8
    training: str = TRAINING
    network: str = ""
    model: Path | None = None


def label_automatically(
    options: AutoOptions,
    out: Path,
    execute: Callable[[list[str]], object],
    say: Callable[[str], object],
    redo: bool = False,
    seconds: float | None = None,
) -> bool:
    """Run the rounds and write the curve: `curve.json`, `curve.csv` and, with matplotlib, `curve.png`.

    Args:
        options: see `AutoOptions`.
        out: folder of the run. The same call continues it.
        execute: runs a command of `synergy`, given as its arguments.
        say: prints a line.
        redo: repeat steps whose command or inputs have changed.
        seconds: time limit of this call.

    Returns:
        Whether all rounds are finished. Otherwise the time limit was reached; the curve has the finished rounds.

    Raises:
        UserError: an option is wrong, or a step failed.
    """
    data, recipe = _make_recipe(options)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False, width=120))
    run = RecipeRun(read_recipe(str(path)), data, out, execute, say, redo, seconds)
    is_finished = run.run()
    if rows := read_curve(out):
        _write_curve(rows, out, say)
    return is_finished


def _write_curve(rows: list[dict[str, float]], out: Path, say: Callable[[str], object]) -> None:
    (out / "curve.json").write_text(json.dumps(rows, indent=1) + "\n")
    with (out / "curve.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    try:
        plot_curve(rows, out / "curve.png")
    except UserError as error:
        say(f"no plot: {error}")
    say((out / "curve.csv").read_text().rstrip())
    say(f"written: {', '.join(str(path) for path in sorted(out.glob('curve.*')))}")


def _make_recipe(options: AutoOptions) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the data files and the content of the recipe."""
    model = open_face() if options.model is None else read_model(options.model)
    pack = Pack.open(options.labelled)
    if missing := [split for split in ("train", "val") if split not in pack.split]:
        raise UserError(f"{options.labelled}: the labelled pack has no samples of the split '{missing[0]}'")
    if pack.manifest["model_digest"] != model.digest:
        raise UserError(
            f"{options.labelled}: its labels are of the morphable model '{pack.manifest['model']}'; "
            "give it with --model"
        )
    if not 0 < options.keep <= 1:
        raise UserError(f"--keep {options.keep:g}: a fraction above 0, at most 1")
    paths = [path.resolve() for path in (options.photos, options.labelled, options.model) if path is not None]
    data = Path(os.path.commonpath([path.parent for path in paths]))
    photos, labelled, *models = (f"{{data}}/{path.relative_to(data).as_posix()}" for path in paths)
    fit_model = ["--morphable-model", *models] if models else []
    train_model = ["--model.model", *models] if models else []
    network_model = ["--bfm", *models] if models else []
    steps: dict[str, Any] = {}

    def add(name: str, *arguments: str, results: str = "") -> None:
        steps[name] = {"run": shlex.join(arguments), **({"results": results} if results else {})}

    def train(number: int, training_pack: str) -> None:
        add(
            f"net{number}", "train", "fit", *shlex.split(options.training), *train_model, "--data.pack", training_pack,
            "--trainer.default_root_dir", "{out}",
        )  # fmt: skip
        add(
            f"weights{number}", "train", "export", f"{{net{number}}}/checkpoints/last.ckpt", "--pack", labelled,
            "--out", "{out}/net.safetensors", results="net.json",
        )  # fmt: skip

    if not _is_data_set(options.photos):
        add("faces", "label", "find", photos, "--out", "{out}/faces.tar")
        photos = "{faces}/faces.tar"
    train(0, labelled)
    prefix = f"{options.network}:" if options.network else ""
    for number in range(1, options.rounds + 1):
        weights = f"{prefix}{{weights{number - 1}}}/net.safetensors"
        add(
            f"predictions{number}", "label", "predict", photos, "--model", weights, *network_model,
            "--keep", f"{options.keep:g}", "--out", "{out}/predictions.npz",
        )  # fmt: skip
        add(
            f"labels{number}", "label", "build", photos, *fit_model, "--name", SOURCE, "--held-out", labelled,
            "--teacher", f"{{predictions{number}}}/predictions.npz", "--out", "{out}",
        )  # fmt: skip
        add(f"pack{number}", "label", "merge", labelled, f"{{labels{number}}}", "--out", "{out}")
        train(number, f"{{pack{number}}}")
    return data, {"steps": steps}


def _is_data_set(photos: Path) -> bool:
    """Return whether a reader of data sets knows the annotations or boxes of photos."""
    try:
        return len(open_reader(photos)) > 0
    except UserError:
        if not photos.exists():
            raise
        return False


def read_curve(out: Path) -> list[dict[str, float]]:
    """Return one row for each finished round of a run. A run that has not begun has none.

    Returns:
        Rows with `round`; `labels`, the number of automatic labels that were trained on; and the figures of each
        validation set, for example `aflw_val/nme_all` (`train.validation.FaceScores`).
    """
    manifest = out / "manifest.json"
    steps = json.loads(manifest.read_text())["steps"] if manifest.exists() else {}
    rows = []
    for number in itertools.count():
        if "results" not in (record := steps.get(f"weights{number}", {})):
            break
        labels = 0
        if number:
            pack = Pack.open(out / f"labels{number}")
            labels = int(np.count_nonzero(pack.weight >= MIN_WEIGHT))
        figures = {
            f"{name}/{figure}": values[figure]
            for name, values in record["results"]["validation"].items()
            for figure in _FIGURES
            if figure in values
        }
        rows.append({"round": number, "labels": labels, **figures})
    return rows


def plot_curve(rows: list[dict[str, float]], path: Path) -> None:
    """Draw the errors on the validation sets, and the number of labels, over the rounds.

    Raises:
        UserError: matplotlib is not installed.
    """
    with needs_extra("eval", "curve.png"):
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    rounds = [row["round"] for row in rows]
    titles = {"nme_all": "NME of annotated points, %", "pose_all": "error of the angles, degrees"}
    panels = {
        figure: names
        for figure in titles
        if (names := [name for name in rows[0] if name.endswith(f"/{figure}")])
    }  # fmt: skip
    figure = Figure(figsize=(4.5 * (len(panels) + 1), 4), layout="constrained")
    axes = figure.subplots(1, len(panels) + 1, squeeze=False)[0]
    for one, (key, names) in zip(axes, panels.items(), strict=False):
        for name in names:
            one.plot(rounds, [row[name] for row in rows], marker="o", label=name.removesuffix(f"/{key}"))
        one.set(title=titles[key], xlabel="round")
        one.legend()
    axes[-1].plot(rounds, [row["labels"] for row in rows], marker="o", color="tab:gray")
    axes[-1].set(title="automatic labels in training", xlabel="round")
    for one in axes:
        one.xaxis.set_major_locator(MaxNLocator(integer=True))
        one.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
