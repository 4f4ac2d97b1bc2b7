"""The devices on which networks run."""

from __future__ import annotations

import torch

from synergy.errors import UserError


def is_cpu(device: str) -> bool:
    """Return whether a device of torch is the CPU.

    Args:
        device: for example "cpu", "cpu:0" or "cuda".
    """
    return device.partition(":")[0] == "cpu"


def require_device(device: str) -> None:
    """Check that torch can use a device.

    Args:
        device: for example "cpu", "cuda" or "cuda:1".

    Raises:
        UserError: it cannot.

    Example:
        >>> require_device("cpu")
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{device}' cannot be used ({str(error).splitlines()[0]})") from None
