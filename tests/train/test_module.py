"""The training step, its schedule, masks and skipped steps; a killed run goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from bfm_assets import MorphableModel, read_model
from synergy import camera
from synergy.checkpoints import read_checkpoint
from synergy.errors import UserError
from synergy.models import SynergyNet, face_model
from synergy.weights import save_weights
from train.callbacks import EMA, TimeLimit
from train.data import PackData, validation_loader
from train.face_module import Schedule
from train.losses import wing
from train.mixed import Float32Conv2d
from train.module import LossWeights, SynergyModule
from train.relabel import fit_coefficients
from train.validation import score_network
from train.warm_start import TrainedNetwork, fit_heads, transplant

ROOT = Path(__file__).parents[2]


def make_module(model_file: Path, **options: Any) -> SynergyModule:
    torch.manual_seed(0)
    return SynergyModule(str(model_file), width=0.25, schedule=Schedule(sizes={0.0: 32}), **options)


def make_trainer(folder: Path, steps: int, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=-1, max_steps=steps, default_root_dir=folder, logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0,
        use_distributed_sampler=False, limit_val_batches=0, **options,
    )  # fmt: skip


def test_forward_is_the_networks(model_file: Path) -> None:
    module = make_module(model_file).eval()
    images = torch.rand(4, 3, 120, 120) * 255
    for ours, theirs in zip(module(images), module.net(images), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("projection", ["plain", "pytorch3d"])
def test_training_projects_through_pytorch3d_where_it_is_installed(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, projection: str
) -> None:
    monkeypatch.setattr(camera, "has_pytorch3d", lambda: projection == "pytorch3d")
    module = make_module(model_file)
    used: list[object] = []
    monkeypatch.setattr(face_model, "project", lambda *args: used.append(args[3]) or camera.project_plain(*args[:3]))
    module(torch.rand(2, 3, 120, 120) * 255)
    module.eval()(torch.rand(1, 3, 120, 120) * 255)
    assert used == [projection, projection]


def test_mixed_precision_stays_near_float32(model_file: Path) -> None:
    exact, mixed = make_module(model_file).eval(), make_module(model_file, mixed=True).eval()
    assert any(isinstance(m, Float32Conv2d) for m in mixed.modules())
    images = torch.rand(4, 3, 120, 120) * 255
    with torch.no_grad():
        assert (exact(images).whitened - mixed(images).whitened).abs().max() < 0.05
    assert mixed(images).landmarks.dtype == torch.float32


def test_training_lowers_the_loss_and_sets_the_whitening(model_file: Path, pack: Path, tmp_path: Path) -> None:
    module = make_module(model_file)
    data = PackData(pack, str(model_file), batch_size=32)
    batch = data.train_set[list(range(32))]
    make_trainer(tmp_path, 20).fit(module, data)
    net = module.net
    assert (net.param_std > 0).all()
    assert (net.param_std != 1).all()
    after = module.loss_terms(batch, module(batch.image))
    fresh = make_module(model_file)
    fresh.net.set_whitening(net.param_mean, net.param_std)
    before = fresh.loss_terms(batch, fresh(batch.image))
    assert after["coarse"] < before["coarse"]


def test_a_batch_without_parameters_trains_on_landmarks_alone(model_file: Path, pack: Path) -> None:
    module = make_module(model_file)
    batch = PackData(pack, str(model_file)).train_set[list(range(8))]
    batch = replace(batch, params=torch.full_like(batch.params, torch.nan))
    terms = module.loss_terms(batch, module(batch.image))
    assert all(value.isfinite() for value in terms.values())
    assert terms["pose"].item() == pytest.approx(0, abs=1e-5)
    terms["refined"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_terms_of_weight_zero_are_left_out(model_file: Path, pack: Path) -> None:
    batch = PackData(pack, str(model_file)).train_set[[0, 1]]
    only = LossWeights(coarse=0, refined=0, coefficients=0, from_landmarks=0, self_constraint=0, vdc=1, wpdc=1)
    module = make_module(model_file, losses=only)
    terms = module.loss_terms(batch, module(batch.image))
    assert set(terms) == {"pose", "vdc", "wpdc"}
    assert all(value.isfinite() and value > 0 for value in terms.values())


def test_distillation_is_the_distance_to_the_teacher(model_file: Path, pack: Path, tmp_path: Path) -> None:
    net = SynergyNet(read_model(model_file), width=0.25).eval()
    net.set_whitening(torch.randn(22), torch.rand(22) + 0.5)
    save_weights(net, tmp_path / "teacher.safetensors", {}, net.morphable_model)
    options = {"teacher": str(tmp_path / "teacher.safetensors"), "teacher_bfm": str(model_file)}
    module = make_module(model_file, **options)
    batch = PackData(pack, str(model_file)).train_set[[0, 1, 2]]
    batch.image = batch.image.float()
    own = module(batch.image)
    with torch.no_grad():
        theirs = net(batch.image)
    one = torch.ones(3)
    expected = (wing(own.coarse, theirs.landmarks, one) + wing(own.landmarks, theirs.landmarks, one)) / 2
    term = module.loss_terms(batch, own)["distillation"]
    torch.testing.assert_close(term, expected, rtol=1e-4, atol=1e-4)
    # The teacher gets images of its own size, also while the network is trained on smaller ones.
    smaller = interpolate(interpolate(batch.image, size=(96, 96), mode="bilinear"), size=(120, 120), mode="bilinear")
    reduced = replace(batch, image=interpolate(batch.image, size=(96, 96), mode="bilinear"))
    torch.testing.assert_close(
        module.loss_terms(reduced, own)["distillation"],
        module.loss_terms(replace(batch, image=smaller), own)["distillation"],
    )
    term.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.net.parameters())
    assert all(p.grad is None and not p.requires_grad for p in module.teachers[0].parameters())
    assert not any("teacher" in name for name in module.state_dict())
    assert "distillation" not in make_module(model_file).loss_terms(batch, own)
    assert "distillation" not in make_module(model_file, losses=LossWeights(distillation=0), **options).loss_terms(
        batch, own
    )
    with pytest.raises(UserError, match="none"):
        make_module(model_file, teacher="none")


def test_jacobian_is_how_far_landmarks_move(model_file: Path, pack: Path) -> None:
    module = make_module(model_file)
    net, face = module.net, module.net.face_model
    net.set_whitening(torch.randn(22), torch.rand(22) + 0.5)
    batch = PackData(pack, str(model_file)).train_set[[0, 1, 2]]
    batch.params[:, 12:] = 0  # about the mean face, which 3DDFA's pose columns are taken for

    def landmarks(params: Tensor) -> Tensor:
        pose = params[:12].reshape(3, 4)
        return face.landmarks(params) @ pose[:, :3].mT + pose[:, 3]

    for row, params in zip(module.jacobian(batch), batch.params, strict=True):
        columns = torch.autograd.functional.jacobian(landmarks, params).flatten(0, 1)
        torch.testing.assert_close(row, columns.norm(dim=0) * net.param_std, rtol=1e-4, atol=1e-4)


def test_a_run_without_a_limit_is_refused(model_file: Path, pack: Path, tmp_path: Path) -> None:
    """Its learning rate would be zero from the first to the last step."""
    trainer = make_trainer(tmp_path, -1)
    with pytest.raises(UserError, match=r"give --trainer\.max_steps or --trainer\.max_time"):
        trainer.fit(make_module(model_file), PackData(pack, str(model_file), batch_size=16))


def test_a_checkpoint_of_another_morphable_model_is_refused(model_file: Path) -> None:
    module, checkpoint = make_module(model_file), dict[str, Any]()
    module.on_save_checkpoint(checkpoint)
    module.on_load_checkpoint(checkpoint)
    with pytest.raises(UserError, match=r"--ckpt_path: .* morphable model 'symmetric'"):
        module.on_load_checkpoint({**checkpoint, "morphable_model": "another"})


def test_validation_alone_uses_the_full_resolution(model_file: Path, pack: Path, tmp_path: Path) -> None:
    module, data = make_module(model_file), PackData(pack, str(model_file))
    module.net.set_whitening(torch.randn(22), torch.rand(22) + 0.5)
    trainer = make_trainer(tmp_path, 1)
    trainer.limit_val_batches = 1.0
    (found,) = trainer.validate(module, data, verbose=False)
    expected = score_network(module.net, validation_loader(data.validation_sets["helen_test"]))
    assert expected["nme_all"] > 0
    for name, value in expected.items():
        assert found[f"helen_test/{name}"] == pytest.approx(value, rel=1e-4), name


class Poison(pl.Callback):
    """Make one step's loss infinite by a sample weight."""

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        if index == 1:
            batch.weight.fill_(torch.inf)
            self.before = [p.detach().clone() for p in module.parameters()]

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, out: Any, batch: Any, index: int
    ) -> None:
        if index == 1:
            self.same = all(torch.equal(a, b) for a, b in zip(self.before, module.parameters(), strict=True))


def test_a_step_that_is_not_finite_is_skipped_and_counted(model_file: Path, pack: Path, tmp_path: Path) -> None:
    module, poison = make_module(model_file), Poison()
    make_trainer(tmp_path, 4, callbacks=[poison], gradient_clip_val=1.0).fit(
        module, PackData(pack, str(model_file), batch_size=16)
    )
    assert module.skipped == 1
    assert poison.same
    assert all(p.isfinite().all() for p in module.parameters())


class Rates(pl.Callback):
    """Record the learning rate of every step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: Any) -> None:
        assert len({group["lr"] for group in optimizer.param_groups}) == 1
        self.rates.append(optimizer.param_groups[0]["lr"])


def test_the_rate_follows_the_schedule_also_after_resuming(model_file: Path, pack: Path, tmp_path: Path) -> None:
    data, checkpoint = PackData(pack, str(model_file), batch_size=16), tmp_path / "last.ckpt"

    def rates(peak: float, stop: int, resume: Path | None = None) -> list[float]:
        module, recorded = make_module(model_file), Rates()
        module.schedule = Schedule(rate=peak, warm_up=0.25, sizes={0.0: 32})
        module.progress = lambda: module.trainer.global_step / 8  # type: ignore[method-assign]
        trainer = make_trainer(tmp_path, stop, callbacks=[recorded])
        trainer.fit(module, data, ckpt_path=resume)
        trainer.save_checkpoint(checkpoint)
        return recorded.rates

    factor = make_module(model_file)
    factor.schedule = Schedule(warm_up=0.25)
    expected = [1e-3 * factor.rate_factor(step / 8) for step in range(8)]
    np.testing.assert_allclose(rates(1e-3, 3), expected[:3])
    np.testing.assert_allclose(rates(1e-3, 5, checkpoint), expected[3:5])
    # Another peak rate takes effect; the first step still has the rate that the checkpoint had planned.
    np.testing.assert_allclose(rates(1e-4, 8, checkpoint)[1:], [rate / 10 for rate in expected[6:]])


def test_data_without_parameters_are_refused(model_file: Path, pack: Path, tmp_path: Path) -> None:
    data = PackData(pack, str(model_file), batch_size=16)
    data.train_set.labels["params"].fill_(torch.nan)
    with pytest.raises(UserError, match="no training sample has 3DMM parameters"):
        make_trainer(tmp_path, 1).fit(make_module(model_file), data)


def test_an_empty_training_set_is_refused(model_file: Path, pack: Path, tmp_path: Path) -> None:
    data = PackData(pack, str(model_file), sampling_weights={"fake": 0.0})
    with pytest.raises(UserError, match="0 training samples are fewer than one batch of 64"):
        make_trainer(tmp_path, 1).fit(make_module(model_file), data)


def test_rate_warms_up_and_ends_at_zero(model_file: Path) -> None:
    module = make_module(model_file)
    warm_up = module.schedule.warm_up
    assert module.rate_factor(0) == 0
    assert module.rate_factor(warm_up) == pytest.approx(1)
    assert module.rate_factor(1) == pytest.approx(0, abs=1e-9)
    module.schedule = Schedule(sizes={0.0: 80, 0.5: 120})
    assert [module.input_size(p) for p in (0, 0.49, 0.5, 1)] == [80, 80, 120, 120]


def test_refit_recovers_the_coefficients_under_the_given_rotation(symmetric: MorphableModel, pack: Path) -> None:
    set_ = PackData(pack, _saved(symmetric, pack)).train_set
    params = set_.label("params")
    scale = params[:, :3].norm(dim=-1)
    rotation = params[:, :12].unflatten(-1, (3, 4))[..., :3] / scale[:, None, None]
    fitted = fit_coefficients(symmetric, set_.label("landmarks").numpy(), rotation.numpy(), noise=1e-4)
    # z of the labels has zero mean, so the depth of the translation is not theirs.
    assert np.abs(fitted[:, :11] - params[:, :11].numpy()).max() < 0.02
    assert np.abs(fitted[:, 12:] - params[:, 12:].numpy()).max() < 0.02


def _saved(model: MorphableModel, folder: Path) -> str:
    path = folder.parent / "again.npz"
    model.save(path)
    return str(path)


def test_heads_are_fitted_to_features(symmetric: MorphableModel) -> None:
    net = SynergyNet(symmetric, width=0.25).eval()
    features = torch.rand(2000, 256)
    params = features @ torch.randn(256, 22) + 3
    net.set_whitening(params.mean(0), params.std(0))
    fit_heads(net, features, params, ridge=1e-8)
    heads = (net.pose_head, net.shape_head, net.expression_head)
    got = net.dewhiten(torch.cat([head(features) for head in heads], -1))
    torch.testing.assert_close(got, params, atol=1e-2, rtol=1e-3)


def test_a_start_with_the_same_architecture_and_model_is_copied_as_it_is(
    model_file: Path, pack: Path, tmp_path: Path, symmetric: MorphableModel
) -> None:
    trainer = make_trainer(tmp_path, 2)
    trainer.fit(make_module(model_file), PackData(pack, str(model_file), batch_size=16))
    checkpoint = tmp_path / "start.ckpt"
    trainer.save_checkpoint(checkpoint)
    start = TrainedNetwork.read(checkpoint)
    module = make_module(model_file, start=str(checkpoint))
    module.schedule = Schedule(rate=0.0, sizes={0.0: 32})
    make_trainer(tmp_path, 1).fit(module, PackData(pack, str(model_file), batch_size=16))
    trained = {name: value for name, value in module.net.named_parameters() if value.requires_grad}
    assert {name for name, value in trained.items() if not torch.equal(value, start.state[name])} == set()
    assert torch.equal(module.net.param_mean, start.state["param_mean"])
    other = SynergyNet(replace(read_model(model_file), mean=symmetric.mean * 1.1), width=0.25)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    assert not start.copy_to(other)
    assert not start.copy_to(SynergyNet(read_model(model_file), width=0.5))
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_transplant_keeps_what_fits(symmetric: MorphableModel, tiny_model: MorphableModel) -> None:
    old, new = SynergyNet(tiny_model, width=0.25).eval(), SynergyNet(symmetric, width=0.25).eval()
    transplant(new, old.state_dict())
    images = torch.rand(2, 3, 120, 120)
    torch.testing.assert_close(new.backbone(images), old.backbone(images))
    points = torch.rand(2, 68, 3) * 120
    feature = torch.rand(2, 256)
    a = new.mafa(points, feature, torch.rand(2, 10))
    torch.testing.assert_close(a, old.mafa(points, feature, torch.zeros(2, 7)))


def test_transplant_copies_no_weights_of_other_features(symmetric: MorphableModel) -> None:
    new = SynergyNet(symmetric, width=0.25)
    columns = slice(new.mafa.n_global, new.mafa.n_global + new.backbone.n_features)
    before = new.mafa.from_face.weight.detach().clone()
    for backbone, width in (("mobilenet_v1", 0.125), ("mobilenet_v2", 1.0)):
        old = SynergyNet(symmetric, backbone, width)
        assert not transplant(new, old.state_dict())
        after = new.mafa.from_face.weight
        assert torch.equal(after[:, columns], before[:, columns])
        n_global = old.mafa.n_global
        assert torch.equal(after[:, :n_global], old.mafa.from_face.weight[:, :n_global])


def start_run(*arguments: object) -> subprocess.Popen[bytes]:
    """resume_run.py with its MODEL PACK OUT RESUME PAUSE [jvcr]."""
    command = [sys.executable, str(Path(__file__).with_name("resume_run.py")), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def losses(path: Path) -> dict[int, float]:
    lines = [line.split(",") for line in path.read_text().splitlines()]
    loss, step = lines[0].index("loss"), lines[0].index("step")
    return {int(line[step]): float(line[loss]) for line in lines[1:] if line[loss]}


@pytest.mark.parametrize("family", [(), pytest.param(("jvcr",), marks=pytest.mark.slow)], ids=["synergynet", "jvcr"])
def test_resume_after_sigkill_gives_the_same_losses_and_weights(
    model_file: Path, pack: Path, tmp_path: Path, family: tuple[str, ...]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    last = killed / "checkpoints" / "last.ckpt"
    unbroken = start_run(model_file, pack, whole, "", 0, *family)
    broken = start_run(model_file, pack, killed, "", 0.3, *family)
    while not last.exists() and broken.poll() is None:
        time.sleep(0.05)
    # Beyond the checkpoint, in the middle of an epoch.
    time.sleep(0.5)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    assert not (killed / "final-first.pt").exists()
    assert start_run(model_file, pack, killed, last, 0, *family).wait() == 0
    assert unbroken.wait() == 0
    expected, resumed = losses(whole / "first" / "metrics.csv"), losses(killed / "resumed" / "metrics.csv")
    assert set(resumed) < set(expected)
    assert max(resumed) == max(expected)
    for step, loss in resumed.items():
        assert loss == pytest.approx(expected[step], rel=1e-4), step
    a, b = read_checkpoint(whole / "final-first.pt"), read_checkpoint(killed / "final-resumed.pt")
    assert all(torch.allclose(a[key].float(), b[key].float(), rtol=1e-3, atol=1e-4) for key in a)


@pytest.mark.slow
def test_two_processes_validate_and_train_as_one_does(model_file: Path, pack: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("ddp_run.py")
    for devices in ("1", "2"):
        command = [sys.executable, str(script), str(model_file), str(pack), str(tmp_path), devices]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300)
    one, two = read_checkpoint(tmp_path / "1.pt"), read_checkpoint(tmp_path / "2.pt")
    # Random views and BatchNorm are each process's own: the weights agree only roughly, the steps exactly.
    assert one["steps"] == two["steps"] == 4
    assert one["figures"] == pytest.approx(two["figures"], rel=1e-5)
    assert any(name.endswith("/label_nme_all") for name in one["figures"])
    assert one["broken"] == two["broken"]
    assert sum(value for name, value in one["broken"].items() if name.endswith("/not_finite")) == 8
    assert all(value.isfinite().all() for value in two["state"].values())
    change = torch.cat([(one["state"][k] - two["state"][k]).float().flatten() for k in one["state"] if "head" in k])
    assert change.abs().max() < 0.1


@pytest.mark.slow
def test_two_processes_of_torchrun_have_the_losses_of_one(model_file: Path, pack: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("torchrun_run.py")
    found = {}
    for world in (1, 2):
        out = tmp_path / f"{world}.json"
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
        command = [*launcher, str(script), str(model_file), str(pack), str(out)]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=600)
        found[world] = json.loads(out.read_text())
        assert (found[world]["world"], found[world]["backend"]) == (world, "gloo")
    one, two = found[1]["losses"], found[2]["losses"]
    assert len(one) == 3
    # The second and the third loss follow from the gradients of the steps before.
    assert two == pytest.approx(one, rel=1e-4)
    assert len(set(one)) == 3


def test_a_run_that_stops_at_its_time_limit_continues_with_the_same_weights(
    model_file: Path, pack: Path, tmp_path: Path
) -> None:
    def fit(name: str, *callbacks: pl.Callback, resume: Path | None = None) -> int:
        trainer = make_trainer(tmp_path, 6, callbacks=[EMA(0.9), *callbacks])
        trainer.fit(make_module(model_file), PackData(pack, str(model_file), batch_size=16), ckpt_path=resume)
        trainer.save_checkpoint(tmp_path / name)
        return trainer.global_step

    class AfterThreeSteps(TimeLimit):
        def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
            if trainer.global_step == 3:
                self.end = 0.0
            super().on_train_batch_end(trainer, *arguments)

    fit("whole.ckpt")
    limit = AfterThreeSteps(1e9, begun=0.0)
    assert fit("part.ckpt", limit) == 3
    assert limit.is_reached
    # The average and the weights that are being trained differ by now, and both are in the checkpoint.
    part = read_checkpoint(tmp_path / "part.ckpt")
    head = "net.pose_head.weight"
    assert (part["state_dict"][head] - part["current_model_state"][head]).abs().max() > 1e-4
    assert fit("parts.ckpt", resume=tmp_path / "part.ckpt") == 6
    whole, parts = (read_checkpoint(tmp_path / name) for name in ("whole.ckpt", "parts.ckpt"))
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(parts["state_dict"][name], value, rtol=1e-3, atol=1e-4)
