"""Foreign checkpoints hold tensors or are refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from synergy.compat.checkpoint import join_layers, read_state, rename_layers
from synergy.errors import UserError


class _Touch:
    """A pickle that would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_prefix_is_dropped_and_bare_dicts_are_taken(tmp_path: Path) -> None:
    wrapped, bare = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save({"state_dict": {"module.a.weight": torch.ones(2)}}, wrapped)
    torch.save({"a.weight": torch.ones(2)}, bare)
    assert list(read_state(wrapped)) == list(read_state(bare)) == ["a.weight"]


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_never_run(tmp_path: Path, zipped: bool) -> None:
    path, trap = tmp_path / "evil.pth", tmp_path / "ran"
    torch.save({"state_dict": _Touch(trap)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_state(path)
    path.write_bytes(pickle.dumps(_Touch(trap), 2))
    with pytest.raises(UserError):
        read_state(path)
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_damaged_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_state(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such file"):
        read_state(tmp_path / "missing.pth")


def test_truncated_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {"a.weight": torch.randn(1000)}}, path)
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_state(path)


def test_values_that_are_no_tensors(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": 1}}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="no state dict of tensors"):
        read_state(tmp_path / "a.pth")


def test_layers_are_renamed_and_joined() -> None:
    state = {"a.weight": torch.ones(1, 3), "b.weight": torch.zeros(2, 3), "b.num_batches_tracked": torch.tensor(3)}
    assert rename_layers(state, ["b"], ["x"]).keys() == {"x.weight", "x.num_batches_tracked"}
    assert join_layers(state, ["a", "b"], "y")["y.weight"].tolist() == [[1.0] * 3, [0.0] * 3, [0.0] * 3]
