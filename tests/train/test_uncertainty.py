"""Training of the uncertainty heads: losses, what stays frozen, calibration, and the stage on rendered faces."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from scipy.spatial.transform import Rotation
from scipy.stats import multivariate_t

from bfm_assets import MorphableModel, open_face
from synergy.checkpoints import read_checkpoint
from synergy.errors import TimeLimitError, UserError
from synergy.geometry import compose_pose
from synergy.models import SynergyNet, SynergyOutput
from synergy.weights import load, save_weights
from train.augment import Augment, AugmentConfig
from train.batch import Batch
from train.cli import main
from train.data import PackData, validation_loader
from train.export import export_checkpoint
from train.synthetic import SyntheticSet
from train.uncertainty import (
    NEW_PHOTOS,
    face_loss,
    fit_temperatures,
    landmark_nll,
    rotation_error,
    rotation_nll,
)
from train.uncertainty_module import Calibrate, UncertaintyModule, augmented_batches
from train.warm_start import TrainedNetwork


def poses(rotations: Rotation) -> torch.Tensor:
    matrix = torch.from_numpy(rotations.as_matrix()).float()
    return compose_pose(torch.full((len(matrix),), 1.5), matrix, torch.full((len(matrix), 3), 60.0))


@pytest.fixture
def output() -> SynergyOutput:
    torch.manual_seed(0)
    points = torch.rand(5, 68, 3) * 120
    params = poses(Rotation.random(5, random_state=0))
    factor = torch.randn(5, 3, 3) * 0.1
    covariance = factor @ factor.mT + 0.01 * torch.eye(3)
    return SynergyOutput(points, points, params, params, torch.rand(5, 68) + 0.5, covariance, torch.randn(5))


def test_landmark_nll_is_scipys(output: SynergyOutput) -> None:
    label, weight = output.landmarks + torch.randn(5, 68, 3), torch.rand(5)
    label[0, :10, 0] = torch.nan
    label[1] = torch.nan
    total = weights = 0.0
    for i in range(5):
        for j in range(68):
            if label[i, j, 0].isfinite():
                student = multivariate_t(
                    output.landmarks[i, j, :2].numpy(), np.eye(2) * output.landmark_std[i, j].item() ** 2, df=5
                )
                total -= weight[i].item() * student.logpdf(label[i, j, :2].numpy())
                weights += weight[i].item()
    assert landmark_nll(output, label, weight).item() == pytest.approx(total / weights, rel=1e-4)


def test_rotation_nll_is_scipys(output: SynergyOutput) -> None:
    vectors = np.random.default_rng(1).normal(size=(5, 3)) * 0.2
    predicted = Rotation.random(5, random_state=0)
    true, weight = poses(Rotation.from_rotvec(vectors) * predicted), torch.rand(5)
    true[2] = torch.nan
    found = rotation_error(output.params, true)
    known = [0, 1, 3, 4]
    np.testing.assert_allclose(found[known], vectors[known], atol=1e-5)
    assert found[2].isnan().all()
    covariances = output.rotation_covariance.double().numpy()
    logs = np.array([multivariate_t(np.zeros(3), covariances[i], df=5).logpdf(vectors[i]) for i in known])
    used = weight[known].numpy()
    assert rotation_nll(output, true, weight).item() == pytest.approx(-(used * logs).sum() / used.sum(), rel=1e-3)


def test_unknown_labels_alone_give_zero_with_a_finite_gradient(output: SynergyOutput) -> None:
    std, covariance = output.landmark_std.requires_grad_(), output.rotation_covariance.requires_grad_()
    unknown = output._replace(landmark_std=std, rotation_covariance=covariance)
    nothing = torch.full_like(output.params, torch.nan)
    loss = landmark_nll(unknown, torch.full((5, 68, 3), torch.nan), torch.ones(5)) + rotation_nll(
        unknown, nothing, torch.ones(5)
    )
    loss.backward()
    assert loss == 0
    assert std.grad.isfinite().all()
    assert covariance.grad.isfinite().all()


def test_face_loss_weighs_both_classes_alike() -> None:
    assert face_loss(torch.zeros(3), torch.zeros(90)) == pytest.approx(np.log(2))
    assert face_loss(torch.full((3,), 20.0), torch.full((9,), -20.0)) < 1e-6


@pytest.fixture
def start(small_net: SynergyNet, tmp_path: Path) -> Path:
    path = tmp_path / "start.safetensors"
    save_weights(small_net, path, {}, open_face())
    return path


def test_the_stage_needs_a_trained_network(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"give it with --model\.start") as caught:
        main(["fit", "--config", "uncertainty", "--data.pack", str(pack), "--trainer.default_root_dir", str(tmp_path)])
    assert "\n" not in str(caught.value)


def test_the_stage_needs_a_calibration_set(start: Path, pack: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"give --data\.calibration"):
        main(
            [
                "fit", "--config", "uncertainty", "--model.start", str(start), "--data.pack", str(pack),
                "--data.calibration", "0", "--trainer.default_root_dir", str(tmp_path), "--trainer.max_steps", "1",
            ]
        )  # fmt: skip


def test_a_network_of_another_morphable_model_is_one_line(start: Path, model_file: Path) -> None:
    with pytest.raises(UserError, match="does not fit the morphable model 'symmetric'") as caught:
        UncertaintyModule(str(start), str(model_file))
    assert "\n" not in str(caught.value)


def test_a_network_of_another_morphable_model_of_the_same_size_is_refused(
    symmetric: MorphableModel, tmp_path: Path
) -> None:
    save_weights(SynergyNet(symmetric, width=0.25), tmp_path / "net.safetensors", {}, symmetric)
    start = TrainedNetwork.read(tmp_path / "net.safetensors")
    assert start.with_uncertainty(symmetric).uncertainty is not None
    with pytest.raises(UserError, match=r"net\.safetensors: does not fit the morphable model 'symmetric', it was"):
        start.with_uncertainty(replace(symmetric, mean=symmetric.mean * 1.1))


def test_a_missing_start_is_one_line() -> None:
    with pytest.raises(UserError, match="no such file"):
        TrainedNetwork.read("missing.safetensors")


def test_gradients_reach_the_heads_alone_and_nothing_else_changes(start: Path, small_net: SynergyNet) -> None:
    module = UncertaintyModule(str(start)).train()
    assert not any(part.training for part in module.net.modules())
    before = {name: value.clone() for name, value in module.net.state_dict().items()}
    module.progress = lambda: 0.5  # type: ignore[method-assign]
    optimizer = module.configure_optimizers()["optimizer"]  # type: ignore[index, call-overload]
    batch = SyntheticSet(open_face(), 0, 8, True)[list(range(8))]
    loss = torch.stack(list(module.training_terms(batch).values())).sum()
    loss.backward()
    for name, parameter in module.net.named_parameters():
        assert (parameter.grad is not None) == name.startswith("uncertainty."), name
    optimizer.step()
    changed = {name for name, value in module.net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("uncertainty.") for name in changed)
    images = torch.rand(2, 3, 120, 120) * 255
    assert torch.equal(module.net(images).landmarks, small_net(images).landmarks)


def calibrated_logits(mean: float, n: int) -> torch.Tensor:
    """Logits (n,) of one of two classes whose logits have the means 2 and -2, and the variance 4.

    The logarithm of the ratio of their two normal densities is the logit itself.
    """
    return mean + 2 * torch.special.ndtri((torch.arange(n) + 0.5) / n)


class KnownErrors(SynergyNet):
    """A network with known mistakes in what it says of its uncertainty.

    Landmarks miss the labels by draws three times as wide as it says, and rotations by draws half as wide. The logits
    of faces are 1.6 times too large.
    """

    truth: Batch

    def forward(self, images: torch.Tensor) -> SynergyOutput:
        n = len(images)
        assert self.uncertainty is not None
        uncertainty = self.uncertainty(torch.zeros(n, self.backbone.n_features))
        landmarks = self.truth.landmarks.clone()
        landmarks[..., :2] += 3 * 2.4 * torch.randn(n, 68, 2)
        vectors = Rotation.from_rotvec(0.5 * 0.05 * np.random.default_rng(0).normal(size=(n, 3)))
        rotations = Rotation.from_matrix(self.truth.params[:, :12].reshape(n, 3, 4)[..., :3].numpy() / 1.5)
        params = torch.cat([poses(vectors * rotations), self.truth.params[:, 12:]], -1)
        logits = 1.6 * calibrated_logits(2, n)
        return SynergyOutput(landmarks, landmarks, params, params, *uncertainty[:2], logits)


def test_temperatures_correct_the_uncertainty(tiny_model: MorphableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.uncertainty.no_face_logits", lambda _, image: 1.6 * calibrated_logits(-2, len(image)))
    torch.manual_seed(0)
    n = 400
    net = KnownErrors(tiny_model, width=0.25, uncertainty=True).eval()
    assert net.uncertainty is not None
    params = torch.cat([poses(Rotation.random(n, random_state=0)), torch.zeros(n, 7)], -1)
    landmarks = torch.rand(n, 68, 3) * 120
    image = torch.randint(0, 256, (n, 3, 120, 120), dtype=torch.uint8)
    known = torch.ones(n)
    net.truth = Batch(image, landmarks, torch.zeros(n, 68), params, known, landmarks[..., :2], known)
    fit_temperatures(net, [net.truth])
    landmark, rotation, face = net.uncertainty.temperature.tolist()
    assert landmark == pytest.approx(3 * NEW_PHOTOS, rel=0.02)
    assert rotation == pytest.approx(0.5, rel=0.05)
    assert face == pytest.approx(1.6, rel=0.05)


def test_calibration_photos_are_held_out_together_with_their_profiled_images(model_file: Path, pack: Path) -> None:
    data, whole = PackData(pack, str(model_file), calibration=0.3), PackData(pack, str(model_file))
    assert len(whole.calibration_set) == 0
    assert 5 < len(data.calibration_set) < 35
    assert len(data.calibration_set) + len(data.train_set) == len(whole.train_set) == 64
    held_out = {image.tobytes() for image in data.calibration_set[list(range(len(data.calibration_set)))].image.numpy()}
    trained = {image.tobytes() for image in data.train_set[list(range(len(data.train_set)))].image.numpy()}
    assert not held_out & trained


def test_photos_with_a_hash_sign_in_their_names_are_photos(model_file: Path, pack: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pack, tmp_path / "pack")
    np.save(folder / "names.npy", np.array([f"photo#{name}" for name in np.load(pack / "names.npy")]))
    data = PackData(folder, str(model_file), calibration=0.3)
    assert 5 < len(data.calibration_set) < 35
    assert len(data.calibration_set) + len(data.train_set) == 64


@pytest.mark.parametrize("should_stop", [False, True])
def test_a_run_that_was_not_told_to_stop_is_calibrated(
    should_stop: bool, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, calibrated = UncertaintyModule(str(start)), []
    module.progress = lambda: 0.1  # type: ignore[method-assign]
    monkeypatch.setattr("train.uncertainty_module.fit_temperatures", lambda net, _: calibrated.append(net))
    data = SimpleNamespace(calibration_set=SyntheticSet(open_face(), 0, 1, True))
    Calibrate().on_train_end(SimpleNamespace(should_stop=should_stop, datamodule=data), module)  # type: ignore[arg-type]
    assert calibrated == ([] if should_stop else [module.net])


def test_the_stage_from_a_checkpoint_to_calibrated_weights(
    model_file: Path, pack: Path, tmp_path: Path, symmetric: MorphableModel
) -> None:
    """`synergy train fit --config uncertainty`, then export: the weights load, with their temperatures."""
    torch.manual_seed(0)
    net = SynergyNet(symmetric, width=0.25)
    mean = torch.zeros(22)
    mean[[0, 5, 10]], mean[[3, 7]] = 1.7, 60.0
    net.set_whitening(mean, torch.ones(22))
    save_weights(net.eval(), tmp_path / "start.safetensors", {}, symmetric)
    run = tmp_path / "run"
    command = [
        "fit", "--config", "uncertainty", "--model.start", str(tmp_path / "start.safetensors"),
        "--model.model", str(model_file), "--data.pack", str(pack), "--data.batch_size", "16",
        "--data.calibration", "0.3", "--trainer.default_root_dir", str(run), "--trainer.max_steps", "4",
        "--trainer.val_check_interval", "2", "--trainer.enable_progress_bar", "false",
        "--trainer.log_every_n_steps", "1",
    ]  # fmt: skip
    checkpoint = run / "checkpoints" / "last.ckpt"
    with pytest.raises(TimeLimitError, match="25% of the run"):
        main([*command, "--time_limit", "0"])
    # A run that is to be continued is not calibrated yet.
    state = read_checkpoint(checkpoint)["state_dict"]
    assert torch.equal(state["net.uncertainty.temperature"], torch.ones(3))
    with pytest.raises(UserError, match="the uncertainty is not calibrated yet; continue the run to its end first"):
        export_checkpoint(checkpoint, None, tmp_path / "out.safetensors")
    main([*command, "--ckpt_path", str(checkpoint)])
    # The rows of the first part of the run stay.
    with (run / "metrics.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file) if row["loss"]] == ["0", "1", "2", "3"]
    figures = export_checkpoint(checkpoint, pack, tmp_path / "out.safetensors")["validation"]["helen_test"]
    assert {"landmarks_within1", "rotation_within2", "faces_kept", "negatives_kept", "nme_all"} <= set(figures)
    exported = load(tmp_path / "out.safetensors", symmetric)
    assert exported.architecture["uncertainty"]
    temperature = exported.uncertainty.temperature
    assert not torch.equal(temperature, torch.ones(3))
    # They are those of the network without temperatures, on the held-out faces, augmented as in training.
    again = TrainedNetwork.read(checkpoint).with_uncertainty(symmetric).eval()
    held_out = PackData(pack, str(model_file), calibration=0.3).calibration_set
    strengths = yaml.safe_load(Path("train/configs/uncertainty.yaml").read_text())["model"]["init_args"]["augment"]
    augment = Augment(symmetric, net.size, AugmentConfig(**strengths))
    fit_temperatures(again, augmented_batches(augment, validation_loader(held_out)))
    torch.testing.assert_close(again.uncertainty.temperature, temperature, rtol=1e-3, atol=0)
    images = torch.rand(2, 3, 120, 120) * 255
    torch.testing.assert_close(exported(images).landmarks, net(images).landmarks)
    assert "architecture" in read_checkpoint(checkpoint)
