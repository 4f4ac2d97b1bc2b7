"""PyTorch checkpoints (`.pt`, `.pth`, `.ckpt`, `.pth.tar`), read without running anything that they contain.

A checkpoint is a pickle, and a pickle can call any function of Python while it is read. Every checkpoint of this
project and of others is therefore read by `read_checkpoint`, and by nothing else: ruff refuses `torch.load` elsewhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from synergy.errors import UserError

# How torch's unpickler reports an object that it does not create, and any other reason behind its long advice.
_REFUSED = re.compile(r"GLOBAL (\S+) (?:was not an allowed global|whose module)")
_REASON = re.compile(r"WeightsUnpickler error: (.+)")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of tensors and plain values, with its tensors on the CPU.

    Admitted are tensors, numbers, text, None and the containers of the standard library: all that the training runs of
    this project and the public checkpoints that it reads consist of.

    Args:
        path: file written by `torch.save`.

    Returns:
        The dictionary that was saved.

    Raises:
        UserError: no such file, a damaged file, or a file that holds other objects. Nothing was run.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 - the one place
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # damaged bytes raise a dozen kinds
        if refused := _REFUSED.search(str(error)):
            reason = f"it asks for '{refused[1]}', which is neither a tensor nor a plain value; nothing was run"
            raise UserError(f"{path}: this checkpoint is refused, {reason}") from None
        found = _REASON.search(str(error))
        reason = (found[1] if found else str(error).strip().split("\n")[0])[:200] or type(error).__name__
        raise UserError(f"{path}: not a readable checkpoint of tensors ({reason})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a checkpoint, it holds {type(content).__name__} where a dictionary is expected")
    return content
