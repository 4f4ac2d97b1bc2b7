import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from bfm_assets import open_face
from synergy.errors import UserError
from synergy.models import SynergyNet
from synergy.weights import DEFAULT, bundled_weights, load, save_weights


@pytest.fixture
def saved(tmp_path, small_net):
    path = tmp_path / "net.safetensors"
    save_weights(small_net, path, {"metrics": {"nme": 3.0}}, open_face())
    return path


def test_round_trip_predicts_the_same(saved, small_net):
    crops = torch.rand(2, 3, 120, 120) * 255
    net = load(saved)
    assert not net.training
    assert net.model_id == "net"
    torch.testing.assert_close(net(crops).landmarks, small_net(crops).landmarks)


def test_description_says_what_the_weights_are(saved):
    facts = json.loads(saved.with_suffix(".json").read_text())
    assert facts["architecture"] == {
        "backbone": "mobilenet_v1",
        "width": 0.25,
        "size": 120,
        "mafa_width": 1.0,
        "uncertainty": False,
    }
    assert facts["morphable_model"] == {"name": open_face().name, "digest": open_face().digest}
    assert facts["metrics"] == {"nme": 3.0}


def test_weights_with_uncertainty_keep_it(tmp_path):
    net = SynergyNet(open_face(), width=0.25, uncertainty=True).eval()
    torch.nn.init.normal_(net.uncertainty.out.weight)
    net.uncertainty.temperature.copy_(torch.tensor([1.5, 0.5, 2.0]))
    save_weights(net, tmp_path / "net.safetensors", {}, open_face())
    crops = torch.rand(2, 3, 120, 120) * 255
    expected, found = net(crops), load(tmp_path / "net.safetensors")(crops)
    for name in ("landmark_std", "rotation_covariance", "face_logit"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))


def test_weights_from_before_uncertainty_existed_load(saved):
    architecture = {"backbone": "mobilenet_v1", "width": 0.25, "size": 120}
    change_description(saved, architecture=architecture)
    assert load(saved)(torch.zeros(1, 3, 120, 120)).landmark_std is None


def test_the_training_branch_is_left_out(saved):
    assert not any(name.startswith("landmark_to_3dmm") for name in load_file(saved))


def test_bundled_weights_load_by_name_and_are_small():
    assert DEFAULT in bundled_weights()
    for name, path in bundled_weights().items():
        assert load(name).model_id == name
        assert path.stat().st_size < 20e6


def test_weights_of_another_morphable_model_are_refused(saved, tiny_model):
    with pytest.raises(UserError, match=r"trained with morphable model 'open-face-2' .*, got 'tiny'"):
        load(saved, tiny_model)


def change_description(path, **changes):
    path = path.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


BROKEN = {
    # what is done to the files                                                     what is said
    "missing": (lambda path: path.unlink(), "not a file, and the bundled ones are"),
    "no description": (lambda path: path.with_suffix(".json").unlink(), "description .* is missing"),
    "description is not JSON": (lambda path: path.with_suffix(".json").write_text("{"), "not Synergy weights"),
    "description lacks fields": (lambda path: path.with_suffix(".json").write_text("{}"), r"net\.json has no 'name'"),
    "description lacks the digest": (
        lambda path: change_description(path, morphable_model={"name": "x"}),
        r"net\.json has no 'digest'",
    ),
    "description lacks the architecture": (
        lambda path: change_description(path, architecture=None),
        "not Synergy weights",
    ),
    "not finite": (
        lambda path: save_file({k: v * float("nan") for k, v in load_file(path).items()}, path),
        "has values that are not finite",
    ),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:1000]), "not Synergy weights"),
    "other tensors": (lambda path: save_file({"a": torch.zeros(2)}, path), "does not fit its architecture"),
    "other shapes": (
        lambda path: save_file({k: v[..., :1].contiguous() for k, v in load_file(path).items()}, path),
        "does not fit its architecture",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_wrong_files_are_one_clear_line(saved, case):
    damage, message = BROKEN[case]
    damage(saved)
    with pytest.raises(UserError, match=message) as caught:
        load(saved)
    assert "\n" not in str(caught.value)
