"""Checkpoints hold tensors and plain values, or are refused in one line without running anything."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from synergy.checkpoints import read_checkpoint
from synergy.errors import UserError


class Touch:
    """An object whose pickle makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_tensors_and_plain_values_come_back(tmp_path: Path) -> None:
    content = {
        "state_dict": OrderedDict(a=torch.arange(3.0)),
        "epoch": 3,
        "name": "x",
        "betas": (0.9, 0.999),
        "no": None,
    }
    torch.save(content, tmp_path / "a.ckpt")
    read = read_checkpoint(tmp_path / "a.ckpt")
    assert read.pop("state_dict")["a"].tolist() == [0, 1, 2]
    assert read == {key: value for key, value in content.items() if key != "state_dict"}


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_by_name_and_never_run(tmp_path: Path, planted: Any, zipped: bool) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": Touch(planted.trap)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"refused, it asks for '\w+\.mkdir'.*nothing was run") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        read_checkpoint(planted(path))
    assert not planted.ran
    pickle.loads(path.read_bytes())  # the payload is real
    assert planted.ran


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_damaged_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable checkpoint") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_missing_truncated_and_other_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_checkpoint(tmp_path / "missing.pth")
    path = tmp_path / "a.pth"
    torch.save({"a": torch.randn(1000)}, path)
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_checkpoint(path)
    torch.save(torch.ones(2), path)
    with pytest.raises(UserError, match="it holds Tensor"):
        read_checkpoint(path)
