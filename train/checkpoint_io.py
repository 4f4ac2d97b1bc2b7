"""How Lightning reads checkpoints: by the project's one safe function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from synergy.checkpoints import read_checkpoint


class SafeCheckpointIO(TorchCheckpointIO):
    """Lightning's reading and writing of checkpoint files, except that reading never runs what a file contains.

    Without it, Lightning reads with full unpickling where it was not told otherwise, for example from a URL.
    """

    def load_checkpoint(self, path: str | Path, *_options: Any, **_more: Any) -> dict[str, Any]:
        """Read a checkpoint with `synergy.checkpoints.read_checkpoint`, whatever options Lightning passes.

        Raises:
            UserError: no such file, damaged, or not of tensors and plain values.
        """
        return read_checkpoint(path)
