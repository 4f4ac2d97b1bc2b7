import json
import sys

import pytest
from typer.testing import CliRunner

from bfm_assets import open_face
from synergy.benchmark.models import described_error
from synergy.benchmark.report import plot_errors, read_error
from synergy.cli import app
from synergy.errors import UserError
from synergy.weights import save_weights
from tests.stand_ins import face_alignment_modules, mediapipe_module

SMALL = ["--threads", "1", "--batches", "2", "--rounds", "1", "--seconds", "0", "--repeats", "1", "--images", ""]


@pytest.fixture(scope="module")
def results(tmp_path_factory, small_net):
    """The JSON of a run of two small networks, with stand-ins for face-alignment and MediaPipe."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("bench")
    models = []
    for name in ("main", "small"):
        save_weights(small_net, folder / f"{name}.safetensors", {}, open_face())
        models += ["--model", str(folder / f"{name}.safetensors")]
    file, task = folder / "bench.json", folder / "face.task"
    task.write_bytes(b"model")
    command = ["bench", *models, *SMALL, "--json", str(file), "--mediapipe", str(task)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, module in (face_alignment_modules() | {"mediapipe": mediapipe_module()}).items():
            monkeypatch.setitem(sys.modules, name, module)
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "Ratios of times" in result.output
    assert "MediaPipe FaceLandmarker, in turns" in result.output
    return json.loads(file.read_text())


def test_the_json_has_the_target_ratios(results):
    ratios = {row["ratio"]: row for row in results["ratios"]}
    with_target = {name: row for name, row in ratios.items() if row["target_at_most"] is not None}
    targets = {name: round(row["target_at_most"], 3) for name, row in with_target.items() if "per face" not in name}
    assert targets == {
        "main / bare MobileNetV2 with heads": 1.3,
        "main / MobileNet-V1 x1.0 of 3DDFA-V2": 0.556,
        "small / MobileNet-V1 x0.5 of 3DDFA-V2": 1.0,
    }
    assert "main, onnxruntime: per face at batch 2 / batch 1" in ratios
    for row in ratios.values():
        assert 0 < row["low"] <= row["median"] <= row["high"]
    for row in with_target.values():
        assert row["reached"] == (row["median"] <= row["target_at_most"])


def test_the_json_has_the_ratios_to_installed_peers(results):
    networks = {(r["network"], r["engine"]): r for r in results["networks"] if r["batch"] == 1}
    ratios = {row["ratio"]: row for row in results["ratios"] if row["target_at_most"] is None}
    assert ratios.keys() == {
        f"{peer} in torch / main in {engine}"
        for peer in ("face-alignment-2d", "face-alignment-3d")
        for engine in ("onnxruntime", "torch")
    } | {"MediaPipe FaceLandmarker / main: photo in memory to landmarks"}
    row = ratios["face-alignment-3d in torch / main in onnxruntime"]
    expected = networks["face-alignment-3d", "torch"]["median_ms"] / networks["main", "onnxruntime"]["median_ms"]
    assert row["median"] == pytest.approx(expected)
    assert not [r for r in results["networks"] if r["network"].startswith("face-alignment") and r["batch"] > 1]
    [photo] = results["photo"]
    ours, theirs = (photo["in_turns"][name] for name in ("main", "MediaPipe FaceLandmarker"))
    row = ratios["MediaPipe FaceLandmarker / main: photo in memory to landmarks"]
    assert row["median"] == pytest.approx(theirs["median_ms"] / ours["median_ms"])
    assert row["reached"] is None


def test_the_ratio_is_that_of_the_measured_times(results):
    rows = {(r["network"], r["engine"], r["batch"]): r for r in results["networks"]}
    one, two = rows["main", "onnxruntime", 1], rows["main", "onnxruntime", 2]
    ratios = {row["ratio"]: row["median"] for row in results["ratios"]}
    expected = two["median_ms"] / 2 / one["median_ms"]
    assert ratios["main, onnxruntime: per face at batch 2 / batch 1"] == pytest.approx(expected)
    assert two["faces_per_second"] == pytest.approx(2000 / two["median_ms"])


def test_machine_and_sizes(results):
    assert results["machine"]["cores"] >= 1
    assert results["machine"]["packages"]["torch"][0].isdigit()
    assert results["sizes"]["main"] == results["sizes"]["small"]


def test_the_plot_takes_errors_from_evaluations(results, tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / "eval.json"
    file.write_text(json.dumps({"model_id": "main", "nme2d": {"visible68": {"mean": 3.5}}}))
    name, error = read_error(file, "nme2d.visible68.mean")
    assert (name, error) == ("main", 3.5)
    plot_errors(tmp_path / "plot.png", results, {name: error}, "NME in percent")
    assert (tmp_path / "plot.png").stat().st_size > 5000
    with pytest.raises(UserError, match=r"eval\.json: not a file of synergy eval --json with the score 'gte'"):
        read_error(file, "gte")


@pytest.mark.slow
def test_folders_are_predicted_in_linear_time(tmp_path):
    file = tmp_path / "bench.json"
    result = CliRunner().invoke(app, ["bench", *SMALL[:-1], "3,12", "--min-face", "64", "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert json.loads(file.read_text())["settings"]["min_face"] == 64
    folders = json.loads(file.read_text())["folders"]
    assert [run["images"] for run in folders["runs"]] == [3, 12]
    # The start of the process is a larger part of the short run.
    assert 0 < folders["time_over_linear"] < 1.2
    assert 0.5 < folders["memory_growth"] < 1.3


MISTAKES = [
    (["--threads", "two"], "--threads two: expected positive whole numbers with commas"),
    (["--batches", "0"], "--batches 0: expected positive whole numbers"),
    (["--plot", "p.png"], "--plot and --errors need each other"),
    (["--errors", "e.json"], "--plot and --errors need each other"),
    (["--errors", "e.json", "--plot", "p.png"], "no errors for the measured networks (synergynet, synergynet_small)"),
    (["models", "--errors", "e.json", "--figure", "f"], "two sources of the error"),
    (["--model", "nothing"], "no weights 'nothing'"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.json").write_text(json.dumps({"model_id": "other", "nme2d": {"visible68": {"mean": 3.5}}}))
    result = CliRunner().invoke(app, ["bench", *arguments])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


@pytest.mark.parametrize("command", [[], ["models", "--only-trained"]], ids=["bench", "bench models"])
def test_an_exported_model_is_one_line(small_net, tmp_path, command):
    pytest.importorskip("onnxruntime")
    weights, exported = tmp_path / "own.safetensors", tmp_path / "own.onnx"
    save_weights(small_net, weights, {}, open_face())
    result = CliRunner().invoke(app, ["export", "onnx", "--model", str(weights), "--out", str(exported)])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, ["bench", *command, "--model", str(exported), "--rounds", "1", "--seconds", "0"])
    assert str(result.exception) == "own: is an exported model; give --model the weights that it was made from"


def test_a_file_that_cannot_be_written_is_said_before_any_work(tmp_path):
    result = CliRunner().invoke(app, ["bench", "--model", "nothing", "--json", str(tmp_path / "gone" / "b.json")])
    assert isinstance(result.exception, UserError)
    assert "there is no folder" in str(result.exception)


@pytest.mark.slow
def test_models_side_by_side(small_net, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    untrained = {"JVCR tiny": ("jvcr", {"variant": "tiny"}), "small": ("direct", {"width": 0.25, "size": 64})}
    monkeypatch.setattr("synergy.benchmark.models.UNTRAINED", untrained)
    own = tmp_path / "own.safetensors"
    save_weights(small_net, own, {}, open_face())
    (tmp_path / "e.json").write_text(json.dumps({"model_id": "own", "nme2d": {"visible68": {"mean": 4.5}}}))
    file, plot = tmp_path / "m.json", tmp_path / "m.png"
    command = ["bench", "models", "--model", str(own), "--rounds", "1", "--seconds", "0", "--json", str(file)]
    command += ["--errors", str(tmp_path / "e.json"), "--plot", str(plot)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in json.loads(file.read_text())}
    assert {"synergynet", "JVCR tiny", "small"} < set(rows)
    assert rows[str(own)]["error"] == 4.5
    assert rows["JVCR tiny"]["error"] is None
    for row in rows.values():
        assert row["parameters"] > 0
        assert row["macs"] > 0
        assert row["median_ms"] > 0
        assert row["int8_mb"] > 0
    # The scales of int8 outweigh the smaller weights in very small networks.
    assert rows["synergynet"]["int8_mb"] < rows["synergynet"]["fp32_mb"]
    assert plot.stat().st_size > 1000
    # The output is no terminal: each model has one line, whatever the length of its name.
    [line] = [line for line in result.output.splitlines() if str(own) in line]
    assert "4.5" in line


def test_errors_of_descriptions(small_net, tmp_path):
    own = tmp_path / "own.safetensors"
    save_weights(small_net, own, {"validation": {"aflw_val": {"nme_mean": 5.25}}}, open_face())
    assert described_error(str(own), "aflw_val/nme_mean") == 5.25
    assert described_error(f"direct:{own}", "aflw_val/nme_mean") == 5.25
    assert described_error(str(own), "helen_test/nme_mean") is None
    assert described_error(str(own), "aflw_val") is None
    assert described_error("gone.safetensors", "aflw_val/nme_mean") is None
