"""The devices on which networks run."""

from __future__ import annotations

import torch

from synergy.errors import UserError


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
