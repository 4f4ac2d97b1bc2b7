from types import SimpleNamespace

import pytest
import torch

from train.module import SynergyModule
from train.pictures import Pictures, overlay


def validate(pictures, module, landmarks):
    batch = SimpleNamespace(image=torch.zeros(2, 3, 120, 120), landmarks=torch.zeros(2, 68, 3), yaw=torch.zeros(2))
    outputs = {"landmarks": landmarks, "params": torch.zeros(2, 12)}
    trainer = SimpleNamespace(loggers=[])
    pictures.on_validation_start(trainer, module)
    pictures.on_validation_batch_end(trainer, module, outputs, batch, 0)
    pictures.on_validation_end(trainer, module)


BAD = [
    # predicted landmarks                              why they cannot be drawn
    torch.full((2, 68, 3), float("nan")),
    torch.full((2, 68, 3), float("inf")),
    torch.full((2, 68, 3), 1e30),
    torch.zeros(2, 68),
]


@pytest.mark.parametrize("landmarks", BAD, ids=["nan", "inf", "huge", "shape"])
def test_pictures_never_end_a_training_run(tiny_model, landmarks):
    pictures = Pictures(every=1)
    with pytest.warns(UserWarning, match="no pictures of this validation: "):
        validate(pictures, SynergyModule.__new__(SynergyModule), landmarks)
    assert pictures._seen == []


@pytest.mark.parametrize("side", [120, 256])
def test_an_overlay_has_the_label_at_its_place(side):
    image, unknown = torch.zeros(3, side, side), torch.full((68, 3), float("nan"))
    label = unknown.clone()
    label[30, :2] = torch.tensor([90.0, 30.0])
    outside = torch.full((68, 3), -1000.0)
    drawn = overlay(image, outside, label).max(-1)
    assert drawn.shape == (2 * side, 2 * side)
    y, x = (axis.mean() for axis in drawn.nonzero())
    # Both frames count pixel centres: 90 of 120 pixels is 90.5 / 120 of the side from its edge.
    assert [(x + 0.5) / (2 * side), (y + 0.5) / (2 * side)] == pytest.approx([90.5 / 120, 30.5 / 120], abs=0.004)
