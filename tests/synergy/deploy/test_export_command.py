"""`synergy export`: files are written, checked, described, and read again."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from synergy.cli import app
from synergy.deploy.exported import ExportedNetwork, description_path
from synergy.deploy.formats import FORMATS, UNAVAILABLE, Labelled, export_fp32, export_onnx_int8
from synergy.deploy.int8 import equalise_channels
from synergy.engines import CropModel, make_engine
from synergy.errors import UserError
from synergy.predictor import FacePredictor
from synergy.registry import open_network

pytest.importorskip("onnxruntime", reason="needs onnxruntime; install the extra 'onnx' (docs/install.md)")


@pytest.fixture(scope="module")
def crops():
    """Smooth random pictures."""
    small = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (24, 3, 6, 6)).astype(np.float32))
    large = torch.nn.functional.interpolate(small, (120, 120), mode="bicubic").clamp(0, 255)
    return large.permute(0, 2, 3, 1).to(torch.uint8).numpy()


@pytest.fixture(scope="module")
def exported(small_net, crops, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "face.onnx"
    export_fp32("onnx", CropModel(small_net), path, crops)
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_predicts_what_torch_predicts_for_other_batch_sizes(kind, small_net, crops, tmp_path):
    if kind == "openvino":
        pytest.importorskip("openvino", reason="needs openvino; install the extra 'openvino' (docs/install.md)")
    path = tmp_path / f"face{FORMATS[kind].suffix}"
    facts = export_fp32(kind, CropModel(small_net), path, crops[:4])
    assert facts["largest_landmark_distance_px"] <= 0.01
    expected = make_engine("torch", small_net)(crops)
    run = FORMATS[kind].open(path)
    for batch in (1, 3, 24):
        predicted = run(crops[:batch])
        np.testing.assert_allclose(predicted["landmarks"], expected.landmarks[:batch], atol=1e-3)
        np.testing.assert_allclose(predicted["params"], expected.params[:batch], atol=1e-3, rtol=1e-4)


def test_a_predictor_runs_an_exported_model(exported, small_net):
    image = np.random.default_rng(1).integers(0, 256, (150, 160, 3), dtype=np.uint8)
    box = [[40.0, 30.0, 120.0, 110.0]]
    network = open_network(str(exported))
    [face], [expected] = (FacePredictor(net)(image, boxes=box) for net in (network, small_net))
    np.testing.assert_allclose(face.landmarks68, expected.landmarks68, atol=1e-2)
    assert face.model_id == small_net.model_id


def test_the_description_suffices_to_make_the_mesh(exported, small_net, crops):
    """As a program in another language does it: from the JSON and the file of the bases alone."""
    facts = json.loads(description_path(exported).read_text())
    params = FORMATS["onnx"].open(exported)(crops[:1])["params"][0].astype(np.float64)
    data = exported.with_name(facts["morphable_model"]["file"]).read_bytes()
    table = facts["morphable_model"]["arrays"]
    arrays = {
        name: np.frombuffer(data, item["dtype"], int(np.prod(item["shape"])), item["offset"]).reshape(item["shape"])
        for name, item in table.items()
    }
    pose = params[: facts["parameters"]["n_pose"]].reshape(3, 4)
    vertices = arrays["mean"] + arrays["basis"] @ params[facts["parameters"]["n_pose"] :]
    v = vertices @ pose[:, :3].T + pose[:, 3]
    mesh = np.stack([v[:, 0], facts["crop"]["size"] - v[:, 1], v[:, 2] - v[arrays["landmarks"], 2].mean()], 1)
    from synergy.models import LinearFaceModel

    expected = LinearFaceModel(small_net.morphable_model).project_mesh(torch.from_numpy(params).float(), 120.0)
    np.testing.assert_allclose(mesh, expected.numpy(), atol=1e-2)
    np.testing.assert_array_equal(arrays["triangles"], small_net.morphable_model.triangles)
    assert [output["name"] for output in facts["outputs"]] == ["landmarks", "params"]
    assert facts["outputs"][0]["shape"] == ["batch", 68, 3]


def test_scaled_channels_compute_the_same(small_net, crops):
    model = CropModel(small_net)
    before = model(torch.from_numpy(crops))[0]
    weights = model.net.backbone[3].weight.clone()
    equalise_channels(model, crops)
    assert not torch.allclose(model.net.backbone[3].weight, weights)
    torch.testing.assert_close(model(torch.from_numpy(crops))[0], before, atol=1e-3, rtol=1e-4)


def test_int8_is_near_fp32_and_smaller(small_net, crops, tmp_path):
    pytest.importorskip("onnx")
    expected = make_engine("torch", small_net)(crops[12:]).landmarks
    data = Labelled(crops[:12], crops[12:], expected[..., :2] + 3)
    facts = export_onnx_int8(CropModel(small_net), tmp_path / "int8.onnx", data)
    assert facts["nme_percent"]["int8"] <= facts["nme_percent"]["fp32"] * 1.003
    network = open_network(str(tmp_path / "int8.onnx"))
    assert network.model_id == f"{small_net.model_id} int8"
    predicted = make_engine("auto", network)(crops[12:]).landmarks
    assert 0 < np.abs(predicted - expected).mean() < 0.3
    graph = (tmp_path / "int8.onnx").read_bytes()
    assert graph.count(b"QuantizeLinear") > 20


def test_int8_that_is_too_far_is_not_written(small_net, crops, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setattr("synergy.deploy.formats.MAX_NME_INCREASE", -1.0)
    data = Labelled(crops[:4], crops[4:8], np.full((4, 68, 2), 60.0) + np.arange(68)[:, None])
    with pytest.raises(UserError, match="int8 raises the NME by"):
        export_onnx_int8(CropModel(small_net), tmp_path / "int8.onnx", data)
    assert not list(tmp_path.iterdir())


def _broken(exported, tmp_path, change):
    """Copy an exported model and change its description or its file."""
    for path in (exported, description_path(exported)):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    change(tmp_path / "face.onnx", tmp_path / "face.onnx.json")
    return tmp_path / "face.onnx"


def _edit(**changes):
    def change(_, description):
        description.write_text(json.dumps(json.loads(description.read_text()) | changes))

    return change


def _with_digest_of(content):
    """A file that its description describes, but that is no ONNX file."""
    import hashlib

    def change(model, description):
        model.write_bytes(content)
        _edit(sha256=hashlib.sha256(content).hexdigest())(model, description)

    return change


BROKEN = {
    "no description": (lambda _, description: description.unlink(), r"its description face\.onnx\.json is missing"),
    "not JSON": (lambda _, description: description.write_text("{"), "cannot be read as JSON"),
    "another JSON": (lambda _, description: description.write_text('{"a": 1}'), "not the description of an exported"),
    "another version": (_edit(version=99), "not the description of a model that this program can read"),
    "cut short": (lambda model, _: model.write_bytes(model.read_bytes()[:9999]), "or it is cut short"),
    "another mesh": (_edit(morphable_model={"name": "m", "digest": "x"}), "made for morphable model 'm'"),
    "no ONNX file": (_with_digest_of(b"nonsense"), "onnxruntime cannot load it"),
    "wrong outputs": (_edit(outputs=[{"name": "depth"}]), "has no output 'depth'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_one_line(case, exported, tmp_path):
    change, message = BROKEN[case]
    with pytest.raises(UserError, match=message) as error:
        make_engine("onnxruntime", ExportedNetwork(_broken(exported, tmp_path, change)))
    assert "\n" not in str(error.value)


def test_what_an_exported_model_cannot_do(exported):
    network = ExportedNetwork(exported)
    with pytest.raises(UserError, match="give --engine onnxruntime"):
        make_engine("torch", network)
    with pytest.raises(UserError, match="cannot be mirrored"):
        make_engine("onnxruntime", network, mirror=True)


WRONG = [
    # arguments, what is said
    (["tflite", "--out", "a.tflite"], "litert-torch"),
    (["coreml", "--out", "a.mlpackage"], "coremltools"),
    (["caffe", "--out", "a.caffe"], "unknown format caffe; choose from onnx, torchscript, openvino"),
    (["onnx", "--out", "a.pt"], "files of onnx end in .onnx"),
    (["torchscript", "--out", "a.pt", "--int8", "--calibrate", "."], "--int8 is written as onnx"),
    (["onnx", "--out", "a.onnx", "--int8"], "--int8 and --calibrate PACK go together"),
    (["onnx", "--out", "no_such_folder/a.onnx"], "there is no folder"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_options_are_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["export", *arguments])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_help_names_only_formats_that_can_be_written():
    text = CliRunner().invoke(app, ["export", "--help"]).output
    assert "openvino" in text
    assert not any(name in text for name in UNAVAILABLE)


def test_the_command_writes_three_files(tmp_path):
    result = CliRunner().invoke(app, ["export", "onnx", "--out", str(tmp_path / "face.onnx")])
    assert result.exception is None
    assert "largest distance of landmarks to torch's: " in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face.bases.bin", "face.onnx", "face.onnx.json"]
