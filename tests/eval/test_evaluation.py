import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bfm_assets import MorphableModel
from eval import evaluation
from eval.evaluation import EvaluationConfig, evaluate
from eval.network import NetworkPredictor
from eval.predictions import Predictions
from eval.protocols.aflw2000 import AFLW2000Protocol
from eval.protocols.landmarks2d import score_300w
from eval.result import Table
from synergy import camera
from synergy.data import AFLW2000Reader, PtsReader
from synergy.errors import UserError
from synergy.models import SynergyNet, face_model
from synergy.predictor import FacePredictor


@pytest.fixture
def console() -> Console:
    return Console(file=StringIO(), width=120)


def printed(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_scores_are_printed_and_written(
    aflw2000_folder: Path, exact: Predictions, tmp_path: Path, console: Console
) -> None:
    exact.save(tmp_path / "exact.npz")
    np.save(aflw2000_folder / "reannotated.npy", exact.landmarks68[..., :2] + 3)
    reader = AFLW2000Reader(aflw2000_folder)
    config = EvaluationConfig(
        AFLW2000Protocol(reader, None),
        model="none",
        from_predictions=tmp_path / "exact.npz",
        predictions_file=tmp_path / "again.npz",
        json_file=tmp_path / "figures.json",
        report_folder=tmp_path / "report",
        command="synergy eval aflw2000-3d",
    )
    evaluate(reader, config, console)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["nme2d"]["original"]["mean"] == pytest.approx(0, abs=1e-4)
    assert figures["nme2d"]["original"]["bins"] == pytest.approx([0, 0, 0], abs=1e-4)
    assert figures["nme2d"]["reannotated"]["mean"] > 1
    for key in ("pitch", "yaw", "roll", "mean"):
        assert figures["pose_mae"][key] == pytest.approx(0, abs=1e-4)
    assert figures["geodesic"] == pytest.approx(0, abs=1e-4)
    assert figures["gte"] == pytest.approx(0, abs=1e-3)
    assert figures["nme3d"] == pytest.approx(0, abs=1e-3)
    assert figures["counts"] == {"samples": 6, "bins": [2, 2, 2], "poses": 6, "skipped": 0}
    assert figures["model_id"] == "exact"
    assert figures["data_hash"] == reader.digest()
    assert figures["command"] == "synergy eval aflw2000-3d"
    assert figures["seconds"] == 0
    assert (Predictions.load(tmp_path / "again.npz").landmarks68 == exact.landmarks68).all()
    assert (tmp_path / "report" / "index.html").is_file()
    assert "2D NME, 68 points (%)" in printed(console)
    assert "they do not compare exactly" in printed(console)


def test_skipped_files_are_listed_and_end_in_an_error(
    pts_folder: Path, exact: Predictions, tmp_path: Path, console: Console
) -> None:
    exact.save(tmp_path / "exact.npz")
    (pts_folder / "image00003.pts").write_text("")
    config = EvaluationConfig(
        score_300w, model="none", from_predictions=tmp_path / "exact.npz", json_file=tmp_path / "figures.json"
    )
    with pytest.raises(UserError, match=r"1 files of .* were skipped"):
        evaluate(PtsReader(pts_folder), config, console)
    figures = json.loads((tmp_path / "figures.json").read_text())  # everything is written all the same
    assert figures["counts"] == {"samples": 5, "skipped": 1}
    assert figures["skipped"][0]["name"] == "image00003.jpg"
    assert "skipped: image00003.jpg" in printed(console)


def test_a_network_is_run(
    pts_folder: Path, small_net: SynergyNet, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "open_predictor", lambda config: NetworkPredictor(FacePredictor(small_net)))
    config = EvaluationConfig(score_300w, model="small", predictions_file=tmp_path / "p.npz")
    result = evaluate(PtsReader(pts_folder), config, console)
    saved = Predictions.load(tmp_path / "p.npz")
    assert saved.model_id == small_net.model_id
    assert saved.pose_deg is not None
    assert result.scores["seconds"] > 0
    again = evaluate(
        PtsReader(pts_folder), replace(config, from_predictions=tmp_path / "p.npz", predictions_file=None), console
    )
    assert again.scores["nme2d"] == result.scores["nme2d"]  # the file scores as the network did


@pytest.mark.parametrize("projection", ["plain", "pytorch3d"])
def test_evaluation_projects_through_pytorch3d_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, projection: str
) -> None:
    monkeypatch.setattr(camera, "has_pytorch3d", lambda: projection == "pytorch3d")
    used: list[object] = []
    monkeypatch.setattr(face_model, "project", lambda *args: used.append(args[3]) or camera.project_plain(*args[:3]))
    predictor = evaluation.open_predictor(EvaluationConfig(score_300w, "synergynet"))
    used.clear()
    predictor.predictor.predict_crops(np.zeros((1, 120, 120, 3), np.uint8))
    assert used[0] == projection


def test_dense_errors_are_part_of_the_result(
    aflw2000_folder: Path, small_net: SynergyNet, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "open_network", lambda model, bfm: small_net)
    reader = AFLW2000Reader(aflw2000_folder)
    model = replace(small_net.morphable_model, name="bfm-3ddfa")
    config = EvaluationConfig(AFLW2000Protocol(reader, None), model="small", dense_model=model)
    dense = evaluate(reader, config, console).scores["dense"]
    assert (dense["counts"], dense["model"]) == (6, model.name)
    assert 0 < dense["reconstruction"] < dense["nme"]
    assert "Dense mesh" in printed(console)


def test_landmark_models_have_no_dense_errors(
    aflw2000_folder: Path, small_net: SynergyNet, tiny_bfm: MorphableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "open_network", lambda model, bfm: small_net)
    reader = AFLW2000Reader(aflw2000_folder)
    config = EvaluationConfig(AFLW2000Protocol(reader, None), model="small", dense_model=tiny_bfm.landmark_model())
    with pytest.raises(UserError, match="landmark vertices only"):  # the network has a mesh, the BFM has none
        evaluation.open_predictor(config)
    with pytest.raises(UserError, match="leave out --bfm"):
        evaluation.open_predictor(replace(config, dense_model=tiny_bfm))


def test_errors_of_the_user_come_before_the_work(pts_folder: Path, tmp_path: Path, console: Console) -> None:
    reader = PtsReader(pts_folder)
    with pytest.raises(UserError, match="there is no folder"):
        evaluate(reader, EvaluationConfig(score_300w, model="none", json_file=tmp_path / "none" / "x.json"), console)
    with pytest.raises(UserError, match="no such file"):
        evaluate(reader, EvaluationConfig(score_300w, model="none", from_predictions=tmp_path / "none.npz"), console)
    with pytest.raises(UserError, match="no weights 'none'"):
        evaluate(reader, EvaluationConfig(score_300w, model="none"), console)
    with pytest.raises(UserError, match="device 'toaster' cannot be used"):
        evaluate(reader, EvaluationConfig(score_300w, model="synergynet_small", device="toaster"), console)


@pytest.mark.parametrize("option", ["predictions_file", "json_file", "report_folder"])
def test_outputs_that_cannot_be_written_are_reported_before_the_work(
    pts_folder: Path, tmp_path: Path, console: Console, option: str
) -> None:
    """A file is where the report's folder should be, or a folder where a file should be."""
    place = tmp_path / "there"
    place.touch() if option == "report_folder" else place.mkdir()
    config = EvaluationConfig(score_300w, model="none")
    with pytest.raises(UserError, match="there: cannot be written to"):
        evaluate(PtsReader(pts_folder), replace(config, **{option: place}), console)


def test_brackets_in_names_are_printed_as_they_are(console: Console) -> None:
    console.print(evaluation._rich_table(Table("pip [train]", ("name",), (("x[/b].jpg",),))))
    assert "pip [train]" in printed(console)
    assert "x[/b].jpg" in printed(console)


def test_3ddfa_v2_has_its_known_scores(shared_data: Path, console: Console) -> None:
    """PROTOCOLS: 2.90 / 3.19 / 4.99, mean 3.70; reannotated 2.90; GTE 7.94, on the 48 sample images."""
    folder = shared_data / "aflw2000_3d_sample"
    reader = AFLW2000Reader(folder)
    config = EvaluationConfig(
        AFLW2000Protocol(reader, None), model="none", from_predictions=folder / "peer_3ddfa_v2_mb05.npz"
    )
    results = evaluate(reader, config, console).scores
    assert [round(value, 2) for value in results["nme2d"]["original"]["bins"]] == [2.90, 3.19, 4.99]
    assert round(results["nme2d"]["original"]["mean"], 2) == 3.70
    assert round(results["nme2d"]["reannotated"]["mean"], 2) == 2.90
    assert round(results["gte"], 2) == 7.94
    assert results["counts"]["bins"] == [24, 12, 12]
