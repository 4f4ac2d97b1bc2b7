"""A table of the validation figures of several weights files, for ablations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from synergy.errors import UserError

# Figures of `train.validation.FaceScores` by the name of their column. Sets that a file lacks have a dash.
COLUMNS = {
    "aflw_val inner 51": "aflw_val/inner_mean",
    "60-90": "aflw_val/inner_60-90",
    "before MAFA": "aflw_val/coarse_inner_mean",
    "label NME": "aflw_val/label_nme_mean",
    "pose": "aflw_val/pose_all",
    "helen_test inner 51": "helen_test/inner_all",
    "CFP profiles": "cfp_train/nme_60-90",
}


def make_table(sources: Sequence[Path]) -> str:
    """Return a Markdown table with a row for each weights file.

    Args:
        sources: the `.json` descriptions of weights (`synergy train export`), or folders that hold one each.

    Raises:
        UserError: there is no such description.
    """
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
    for source in sources:
        path = next(iter(sorted(source.glob("*.json"))), source) if source.is_dir() else source
        try:
            figures = json.loads(path.read_text())["validation"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{path}: not the description of weights from `synergy train export`") from None
        values = [figures.get(key.split("/")[0], {}).get(key.split("/")[1]) for key in COLUMNS.values()]
        lines.append(f"| {path.stem} | " + " | ".join("-" if v is None else f"{v:.2f}" for v in values) + " |")
    return "\n".join(lines) + "\n"
