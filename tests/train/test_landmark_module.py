"""Training of landmark networks: every family overfits a few faces, and errors name what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import nn

from bfm_assets import MorphableModel, open_face
from eval.metrics import box_size
from synergy.errors import UserError
from synergy.geometry import centre_depth
from synergy.registry import open_network
from synergy.voxels import append_centres
from train.batch import Batch
from train.cli import main
from train.data import PackData
from train.export import export_checkpoint
from train.face_module import Schedule
from train.jvcr_module import JVCRModule
from train.landmark_crops import predict_stored, resize_points, zoom_of, zoomed
from train.landmark_module import LandmarkModule
from train.synthetic import SyntheticSet

FAMILIES: dict[str, dict[str, Any]] = {
    "mobilenet_v1": {"net": "direct", "options": {"width": 0.25, "size": 64}},
    "mobilenet_v2": {"net": "direct", "options": {"backbone": "mobilenet_v2", "width": 0.25, "size": 64}},
    "mobilenet_v3": {"net": "direct", "options": {"backbone": "mobilenet_v3_small", "width": 0.5, "size": 64}},
    "xception": {"net": "direct", "options": {"backbone": "xception", "width": 0.125, "size": 64}},
    "gaussian": {
        "net": "direct", "options": {"width": 0.25, "size": 64, "std": True}, "losses": {"gaussian_nll": 3.0},
    },
    "pfld": {"net": "pfld", "options": {"width": 0.25, "size": 64}, "losses": {"pfld": 0.02, "wing": 1.0}},
    "slpt": {
        "net": "slpt", "options": {"width": 0.25, "size": 64, "features": 32, "layers": 2},
        "losses": {"direction": 1.0},
    },
    "jvcr": {},
}  # fmt: skip
# Peak rate and number of steps with which a family overfits.
RATES = {"jvcr": 4e-3, "slpt": 2e-3}
STEPS = {"jvcr": 400, "slpt": 400, "gaussian": 400}


def make_module(family: str) -> LandmarkModule:
    torch.manual_seed(0)
    return JVCRModule("tiny") if family == "jvcr" else LandmarkModule(**FAMILIES[family])


@pytest.fixture(scope="module")
def faces() -> Batch:
    return SyntheticSet(open_face(), 0, 8, keep=True)[list(range(8))]


def nme(module: LandmarkModule, batch: Batch) -> float:
    """Mean error in percent of the box, as predictions are made."""
    module.eval()
    with torch.no_grad():
        error = (predict_stored(module.net, batch.image).landmarks - batch.landmarks)[..., :2].norm(dim=-1).mean(1)
    return 100 * float((error / torch.from_numpy(box_size(batch.landmarks[..., :2].numpy()))).mean())


def overfit(module: LandmarkModule, batch: Batch, steps: int, rate: float) -> None:
    """Train on one batch without augmentation. BatchNorm is frozen in the last third of the steps."""
    centre, zoom = torch.tensor([59.5, 59.5, 0.0]), zoom_of(module.net)
    image = zoomed(batch.image.float(), zoom, module.net.size)
    batch = replace(batch, image=image, landmarks=(batch.landmarks - centre) * zoom + centre)
    optimizer = torch.optim.Adam(module.net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for step in range(steps):
        module.train()
        if step > 2 * steps / 3:
            for layer in module.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.eval()
        module.progress = lambda step=step: step / steps  # type: ignore[method-assign, misc]
        terms = module.loss_terms(batch, module(batch.image))
        loss = torch.stack([module.loss_weight(name) * value for name, value in terms.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.net.parameters(), 10.0)  # as the configurations do
        optimizer.step()
        schedule.step()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_overfits_eight_faces(family: str, faces: Batch) -> None:
    module = make_module(family)
    overfit(module, faces, STEPS.get(family, 500), RATES.get(family, 3e-3))
    assert nme(module, faces) < 1.0


@pytest.mark.parametrize("family", ["mobilenet_v1", "pfld", "slpt", "jvcr"])
def test_a_few_steps_lower_the_loss(family: str, faces: Batch) -> None:
    module = make_module(family)
    batch = replace(faces, image=zoomed(faces.image.float(), 1.0, module.net.size))
    module.progress = lambda: 0.0  # type: ignore[method-assign]

    def loss() -> float:
        terms = module.loss_terms(batch, module.train()(batch.image))
        return sum(module.loss_weight(name) * value.item() for name, value in terms.items())

    before = loss()
    overfit(module, faces, 8, 3e-3)
    module.progress = lambda: 0.0  # type: ignore[method-assign]
    assert loss() < 0.9 * before


def test_stored_crops_and_the_networks_crops(faces: Batch) -> None:
    """A point of the stored crop is at the same image content in the zoomed crop."""
    side = 120
    image = torch.zeros(1, 3, side, side)
    image[..., 70, 40] = 255
    zoom, size = 1.25, 256
    mapped = zoomed(image, zoom, size)[0, 0]
    row, column = np.unravel_index(int(mapped.argmax()), mapped.shape)
    point = resize_points(torch.tensor([float(column), float(row)]), size, 120)
    point = (point - 59.5) / zoom + 59.5
    assert (point - torch.tensor([40.0, 70.0])).abs().max() < 0.3
    assert torch.equal(zoomed(image, 1.0, side), image)


def test_augmented_faces_are_larger_by_the_zoom(faces: Batch) -> None:
    module = JVCRModule("tiny")
    torch.manual_seed(0)
    batch = module.augmented(faces)
    assert batch.image.shape == (8, 3, 64, 64)
    ratio = np.ptp(batch.landmarks[..., :2].numpy(), 1).max(-1) / np.ptp(faces.landmarks[..., :2].numpy(), 1).max(-1)
    assert ratio.mean() == pytest.approx(zoom_of(module.net), rel=0.15)


def test_jvcr_learns_true_volumes_first_and_then_end_to_end(faces: Batch) -> None:
    module = JVCRModule("tiny").train()
    batch = replace(faces, image=zoomed(faces.image.float(), 1.0, 64))
    for progress, reaches_hourglass in ((0.0, False), (0.9, True)):
        module.progress = lambda progress=progress: progress  # type: ignore[method-assign, misc]
        module.zero_grad()
        terms = module.loss_terms(batch, module(batch.image))
        assert module.loss_weight("volumes") == (0.1 if reaches_hourglass else 1.0)
        terms["coordinates"].backward()
        gradients = [p.grad for p in module.net.hourglass.parameters() if p.grad is not None]
        assert bool(gradients) == reaches_hourglass
        assert module.net.coordinates.head.weight.grad is not None


def test_true_volumes_of_jvcr_hold_the_points(faces: Batch) -> None:
    module = JVCRModule("small")
    true = resize_points(faces.landmarks, 120, module.net.size)
    volumes = module._true_volumes(true)
    assert [volume.shape[1] for volume in volumes] == [1, 2, 4, 32]
    voxels = module.net.to_unit(append_centres(centre_depth(true))) * 32 - 0.5
    x, y, z = (voxels + 0.5).floor().long().clamp(0, 31).unbind(-1)
    rows = torch.arange(8)[:, None].expand_as(x)
    assert (volumes[-1][rows, z, y, x] > 0.99).float().mean() > 0.95


def test_faces_without_depth_are_left_out_by_jvcr(faces: Batch) -> None:
    module = JVCRModule("tiny").train()
    module.progress = lambda: 0.0  # type: ignore[method-assign]
    batch = replace(faces, image=zoomed(faces.image.float(), 1.0, 64), landmarks=faces.landmarks.clone())
    batch.landmarks[..., 2] = torch.nan
    terms = module.loss_terms(batch, module(batch.image))
    assert [value.item() for value in terms.values()] == [0.0, 0.0]
    with pytest.raises(UserError, match="JVCR needs all 68 landmarks with depth"):
        module.check_labels(batch)
    with pytest.raises(UserError, match="predicts 3D landmarks, but the training samples have no depth"):
        make_module("mobilenet_v1").check_labels(batch)
    LandmarkModule("direct", {"width": 0.25, "size": 64, "dims": 2}).check_labels(batch)


@pytest.mark.parametrize("volume_loss", ["mse", "adaptive_wing"])
def test_the_losses_of_jvcr_are_weighted(volume_loss: str, faces: Batch) -> None:
    module = JVCRModule("tiny", volume_loss=volume_loss).eval()
    output = module(zoomed(faces.image.float(), 1.0, 64))
    weight = torch.ones(8)
    weight[0] = 0
    rest = replace(faces, **{name: value[1:] for name, value in vars(faces).items()})
    assert output.points is not None
    assert output.volumes is not None
    some = output._replace(points=output.points[1:], volumes=tuple(volume[1:] for volume in output.volumes))
    expected, unweighted = module.loss_terms(rest, some), module.loss_terms(faces, output)
    for name, value in module.loss_terms(replace(faces, weight=weight), output).items():
        torch.testing.assert_close(value, expected[name])
        assert value.item() != pytest.approx(unweighted[name].item(), rel=1e-4)


def fit(module: LandmarkModule, data: pl.LightningDataModule, folder: Path, steps: int) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=-1, max_steps=steps, default_root_dir=folder, logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, data)
    return trainer


@pytest.mark.parametrize("family", ["jvcr", "pfld"])
def test_a_run_on_a_pack_is_validated_and_exported(
    family: str, pack: Path, model_file: Path, symmetric: MorphableModel, tmp_path: Path
) -> None:
    options = {} if family == "jvcr" else FAMILIES[family]
    kind: Any = JVCRModule if family == "jvcr" else LandmarkModule
    module = kind(**({"variant": "tiny"} if family == "jvcr" else options), model=str(model_file))
    trainer = fit(module, PackData(pack, str(model_file), batch_size=8), tmp_path, 8)
    figures = {name: float(value) for name, value in trainer.logged_metrics.items()}
    assert figures["helen_test/nme_all"] > 0
    assert figures["helen_test/pose_all"] > 0
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    out = tmp_path / "weights.safetensors"
    facts = export_checkpoint(tmp_path / "last.ckpt", pack, out)
    assert facts["validation"]["helen_test"]["nme_all"] == pytest.approx(figures["helen_test/nme_all"], abs=0.01)
    assert open_network(f"{family}:{out}").size == 64
    with pytest.raises(UserError, match="a landmark network has no expression head"):
        export_checkpoint(tmp_path / "last.ckpt", pack, out, refit_expression=pack)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.losses", "{whing: 1}"], "unknown loss 'whing'; choose from wing, smooth_l1, direction, "),
        (["--model.net", "resnet"], "unknown network 'resnet'; choose from direct, "),
        (["--model.options", "{widht: 1}"], "network 'direct': got an unexpected keyword argument 'widht'"),
        (["--model.schedule.sizes", "{0: 80}"], "landmark networks have one image size"),
    ],
)
def test_a_wrong_option_is_one_line(pack: Path, options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        main(["fit", "--config", "direct", "--data.pack", str(pack), *options])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("losses", "message"),
    [({"gaussian_nll": 1.0}, "predicts no standard deviations"), ({"pfld": 1.0}, "no auxiliary branch")],
)
def test_a_loss_names_the_output_that_it_lacks(losses: dict[str, float], message: str, faces: Batch) -> None:
    module = LandmarkModule("direct", {"width": 0.25, "size": 64}, losses)
    batch = replace(faces, image=zoomed(faces.image.float(), 1.0, 64))
    with pytest.raises(UserError, match=message):
        module.loss_terms(batch, module(batch.image))


def test_rates_fall_in_steps() -> None:
    module = LandmarkModule("direct", {"width": 0.25}, schedule=Schedule(warm_up=0, drops=[0.3, 0.6]))
    assert [module.rate_factor(p) for p in (0, 0.29, 0.3, 0.6, 1)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])
