"""State dicts of foreign checkpoints, and the renaming of their layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from synergy.compat.checkpoint import join_layers, load_strictly, read_state, rename_layers
from synergy.errors import UserError


def test_prefix_is_dropped_and_bare_dicts_are_taken(tmp_path: Path) -> None:
    wrapped, bare = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save({"state_dict": {"module.a.weight": torch.ones(2)}}, wrapped)
    torch.save({"a.weight": torch.ones(2)}, bare)
    assert list(read_state(wrapped)) == list(read_state(bare)) == ["a.weight"]


def test_values_that_are_no_tensors(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": 1}}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="no state dict of tensors"):
        read_state(tmp_path / "a.pth")


def test_layers_are_renamed_and_joined() -> None:
    state = {"a.weight": torch.ones(1, 3), "b.weight": torch.zeros(2, 3), "b.num_batches_tracked": torch.tensor(3)}
    assert rename_layers(state, ["b"], ["x"]).keys() == {"x.weight", "x.num_batches_tracked"}
    assert join_layers(state, ["a", "b"], "y")["y.weight"].tolist() == [[1.0] * 3, [0.0] * 3, [0.0] * 3]


def test_values_that_are_not_finite_are_refused() -> None:
    layer = nn.Linear(3, 2)
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    load_strictly(layer, state, "a.pth")
    state["bias"][1] = torch.nan
    with pytest.raises(UserError, match=r"^a\.pth: 'bias' has values that are not finite$"):
        load_strictly(layer, state, "a.pth")
