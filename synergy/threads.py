"""How many threads may run, and what torch does in a forked process."""

from __future__ import annotations

import os

import torch

# The threads of OpenMP do not exist in a forked process. torch would wait for them for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
