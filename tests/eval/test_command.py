import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bfm_assets import MorphableModel, open_face
from eval import command
from eval.command import AFLW2000Scorer, Job, require_same_mesh, run
from eval.dense import DenseErrors
from eval.network import NetworkPredictor
from eval.outcome import Table
from eval.predictions import Predictions
from eval.protocols.landmarks2d import score_300w
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


def test_figures_are_printed_and_written(
    aflw2000_folder: Path, exact: Predictions, tmp_path: Path, console: Console
) -> None:
    exact.save(tmp_path / "exact.npz")
    np.save(aflw2000_folder / "reannotated.npy", exact.landmarks68[..., :2] + 3)
    reader = AFLW2000Reader(aflw2000_folder)
    job = Job(
        AFLW2000Scorer(reader, None),
        model="none",
        given=tmp_path / "exact.npz",
        save_to=tmp_path / "again.npz",
        json_to=tmp_path / "figures.json",
        report_to=tmp_path / "report",
        command="synergy eval aflw2000-3d",
    )
    run(reader, job, console)
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
    assert "compare with care" in printed(console)


def test_skipped_files_are_listed_and_end_in_an_error(
    pts_folder: Path, exact: Predictions, tmp_path: Path, console: Console
) -> None:
    exact.save(tmp_path / "exact.npz")
    (pts_folder / "image00003.pts").write_text("")
    job = Job(score_300w, model="none", given=tmp_path / "exact.npz", json_to=tmp_path / "figures.json")
    with pytest.raises(UserError, match=r"1 files of .* were skipped"):
        run(PtsReader(pts_folder), job, console)
    figures = json.loads((tmp_path / "figures.json").read_text())  # everything is written all the same
    assert figures["counts"] == {"samples": 5, "skipped": 1}
    assert figures["skipped"][0]["name"] == "image00003.jpg"
    assert "skipped: image00003.jpg" in printed(console)


def test_a_network_is_run(
    pts_folder: Path, small_net: SynergyNet, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "network", lambda job: NetworkPredictor(FacePredictor(small_net)))
    job = Job(score_300w, model="small", save_to=tmp_path / "p.npz")
    outcome = run(PtsReader(pts_folder), job, console)
    saved = Predictions.load(tmp_path / "p.npz")
    assert saved.model_id == small_net.model_id
    assert saved.pose_deg is not None
    assert outcome.results["seconds"] > 0
    again = run(PtsReader(pts_folder), replace(job, given=tmp_path / "p.npz", save_to=None), console)
    assert again.results["nme2d"] == outcome.results["nme2d"]  # the file scores as the network did


@pytest.mark.parametrize("projection", ["plain", "pytorch3d"])
def test_evaluation_projects_through_pytorch3d_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, projection: str
) -> None:
    monkeypatch.setattr(camera, "has_pytorch3d", lambda: projection == "pytorch3d")
    predictor = command.network(Job(score_300w, "synergynet"))
    used: list[object] = []
    monkeypatch.setattr(face_model, "project", lambda *args: used.append(args[3]) or camera.project_plain(*args[:3]))
    predictor.predictor.predict_crops(np.zeros((1, 120, 120, 3), np.uint8))
    assert used[0] == projection


def test_dense_figures_join_the_others(
    aflw2000_folder: Path, exact: Predictions, tiny_model: MorphableModel, tmp_path: Path, console: Console
) -> None:
    exact.save(tmp_path / "exact.npz")
    reader = AFLW2000Reader(aflw2000_folder)
    dense = DenseErrors(tiny_model)
    dense.nme, dense.reconstruction, dense.yaw = [4.0], [3.0], [0.0]
    job = Job(AFLW2000Scorer(reader, None), model="none", given=tmp_path / "exact.npz", dense=dense)
    assert run(reader, job, console).results["dense"]["nme"] == 4
    assert "Dense mesh" in printed(console)


def test_meshes_must_correspond(tiny_model: MorphableModel) -> None:
    require_same_mesh(tiny_model, tiny_model)
    with pytest.raises(UserError, match="these predict 'open-face"):
        require_same_mesh(tiny_model, open_face())
    with pytest.raises(UserError, match="landmark vertices only"):
        require_same_mesh(tiny_model.landmark_model(), tiny_model)


def test_what_the_user_can_mend_is_said_first(pts_folder: Path, tmp_path: Path, console: Console) -> None:
    reader = PtsReader(pts_folder)
    with pytest.raises(UserError, match="there is no folder"):
        run(reader, Job(score_300w, model="none", json_to=tmp_path / "none" / "x.json"), console)
    with pytest.raises(UserError, match="no such file"):
        run(reader, Job(score_300w, model="none", given=tmp_path / "none.npz"), console)
    with pytest.raises(UserError, match="no weights 'none'"):
        run(reader, Job(score_300w, model="none"), console)
    with pytest.raises(UserError, match="device 'toaster' cannot be used"):
        run(reader, Job(score_300w, model="none", device="toaster"), console)


@pytest.mark.parametrize("option", ["save_to", "json_to", "report_to"])
def test_outputs_that_cannot_be_written_are_said_before_any_work(
    pts_folder: Path, tmp_path: Path, console: Console, option: str
) -> None:
    """A file where the report's folder belongs, and a folder where a file belongs."""
    place = tmp_path / "there"
    place.touch() if option == "report_to" else place.mkdir()
    with pytest.raises(UserError, match="there: cannot be written to"):
        run(PtsReader(pts_folder), replace(Job(score_300w, model="none"), **{option: place}), console)


def test_tables_take_names_as_they_are(console: Console) -> None:
    console.print(command._rich(Table("pip [train]", ("name",), (("x[/b].jpg",),))))
    assert "pip [train]" in printed(console)
    assert "x[/b].jpg" in printed(console)


def test_the_peer_has_its_published_figures(shared_data: Path, console: Console) -> None:
    """PROTOCOLS: 2.90 / 3.19 / 4.99, mean 3.70; reannotated 2.90; GTE 7.94, on the 48 sample images."""
    folder = shared_data / "aflw2000_3d_sample"
    reader = AFLW2000Reader(folder)
    job = Job(AFLW2000Scorer(reader, None), model="none", given=folder / "peer_3ddfa_v2_mb05.npz")
    results = run(reader, job, console).results
    assert [round(value, 2) for value in results["nme2d"]["original"]["bins"]] == [2.90, 3.19, 4.99]
    assert round(results["nme2d"]["original"]["mean"], 2) == 3.70
    assert round(results["nme2d"]["reannotated"]["mean"], 2) == 2.90
    assert round(results["gte"], 2) == 7.94
    assert results["counts"]["bins"] == [24, 12, 12]
