"""Reading of checkpoints by Lightning, through the project's one safe function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from typing_extensions import override

from synergy.checkpoints import read_checkpoint


class SafeCheckpointIO(TorchCheckpointIO):
    """Lightning's reading and writing of checkpoint files, except that reading never runs code from the file.

    Lightning alone reads some files with full unpickling, for example those that come from a URL.
    """

    @override
    def load_checkpoint(self, path: str | Path, *_options: Any, **_more: Any) -> dict[str, Any]:
        """Read a checkpoint with `synergy.checkpoints.read_checkpoint`, whatever options Lightning passes.

        Raises:
            UserError: no such file, a damaged file, or one that holds other objects than tensors and plain values.
        """
        return read_checkpoint(path)
