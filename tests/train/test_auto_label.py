"""Automatic labelling in rounds: what is labelled, what is left out, and what the curve says."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bfm_assets import open_face
from synergy.cli import app
from synergy.cli.train import execute
from synergy.errors import UserError
from synergy.registry import open_network
from synergy.weights import save_weights
from train.auto_label import AutoOptions, label_automatically, read_curve
from train.packs.pack import Pack, PackWriter, describe_contents, encode_jpeg
from train.packs.rendered import make_row
from train.synthetic import SyntheticFace, render_face

N_LABELLED, N_PHOTOS = 8, 12


@pytest.fixture(scope="module")
def faces() -> list[SyntheticFace]:
    model = open_face()
    return [render_face(model, np.random.default_rng([1, i])) for i in range(N_LABELLED + N_PHOTOS)]


@pytest.fixture(scope="module")
def labelled(faces: list[SyntheticFace], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of six training and two validation samples."""
    path = tmp_path_factory.mktemp("data") / "labelled"
    writer = PackWriter(path, {"test": 1})
    rows = [make_row(face, f"{i}") for i, face in enumerate(faces[:N_LABELLED])]
    writer.write(0, [{**row, "split": "val" if i > 5 else "train"} for i, row in enumerate(rows)])
    writer.finish({"sources": {}, "statistics": {}, **describe_contents(open_face())})
    return path


@pytest.fixture(scope="module")
def photos(faces: list[SyntheticFace], labelled: Path) -> Path:
    """A data set without annotations: crops of twelve other faces, a copy of one, and a copy of a validation face."""
    path = labelled.parent / "photos.tar"
    images = [face.image for face in faces[N_LABELLED:]]
    images += [images[0][:, ::-1], faces[N_LABELLED - 1].image]
    names = [f"{i}.jpg" for i in range(len(images))]
    with tarfile.open(path, "w") as archive:
        for name, image in zip(names, images, strict=True):
            entry = tarfile.TarInfo(name)
            entry.size = len(content := encode_jpeg(image))
            archive.addfile(entry, io.BytesIO(content))
    unknown = {"points68": np.full((len(names), 68, 2), np.nan), "visibility68": np.full((len(names), 68), -1)}
    np.savez(path.with_suffix(".npz"), names=names, **unknown)
    return path


class Commands:
    """Runs `label` commands, and stands for training: it writes the bundled weights and figures.

    Attributes:
        run: the arguments of the commands.
    """

    def __init__(self) -> None:
        self.run: list[list[str]] = []

    def __call__(self, arguments: list[str]) -> None:
        self.run.append(arguments)
        if arguments[0] == "label":
            execute(arguments)
        elif arguments[1] == "fit":
            folder = Path(arguments[arguments.index("--trainer.default_root_dir") + 1])
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / "last.ckpt").write_text("")
        else:
            out = Path(arguments[arguments.index("--out") + 1])
            net = open_network("synergynet")
            figures = {"val": {"nme_all": 10.0 - len(self.run), "pose_all": 3.0, "other": 1.0}}
            save_weights(net, out, {"validation": figures}, net.morphable_model)  # type: ignore[arg-type]


def test_rounds_label_the_certain_photos_and_leave_out_copies(photos: Path, labelled: Path, tmp_path: Path) -> None:
    open_face().save(model := tmp_path / "face.npz")
    training = "--config smoke"
    commands, options = Commands(), AutoOptions(photos, labelled, 2, keep=0.75, training=training, model=model)
    out = tmp_path / "out"
    assert label_automatically(options, out, commands, lambda line: None)
    one_round = ["label predict", "label build", "label merge", "train fit", "train export"]
    assert [" ".join(command[:2]) for command in commands.run] == [*one_round[3:], *one_round, *one_round]
    trained_on = [c[c.index("--data.pack") + 1] for c in commands.run if c[:2] == ["train", "fit"]]
    assert trained_on == [str(labelled), str(out / "pack1"), str(out / "pack2")]
    assert all(c[c.index("--model.model") + 1] == str(model) for c in commands.run if c[:2] == ["train", "fit"])
    assert all(c[c.index("--pack") + 1] == str(labelled) for c in commands.run if c[1] == "export")
    labels = Pack.open(out / "labels1")
    assert labels.manifest["dropped"] == {"held out": ["13.jpg"], "repeated": ["12.jpg"]}
    assert (labels.weight > 0).sum() <= round(0.75 * 14)
    assert not np.isin(labels.names, ["12.jpg", "13.jpg"]).any()
    kept = labels.weight > 0
    assert np.isfinite(labels.landmarks68[kept]).all()
    joined = Pack.open(out / "pack1")
    assert (joined.split == "val").sum() == 2
    assert set(joined.sources) == {"synthetic", "automatic"}
    rows = json.loads((out / "curve.json").read_text())
    assert [(row["round"], row["labels"]) for row in rows] == [(0, 0), (1, kept.sum()), (2, kept.sum())]
    assert [row["val/nme_all"] for row in rows] == [8.0, 3.0, -2.0]
    assert "val/other" not in rows[0]
    assert len(list(csv.DictReader((out / "curve.csv").open()))) == 3
    assert (out / "curve.png").stat().st_size > 5000
    commands.run.clear()
    assert label_automatically(options, out, commands, lambda line: None)
    assert commands.run == []


def test_options_that_cannot_work_are_one_line(photos: Path, labelled: Path, pack: Path, tmp_path: Path) -> None:
    ignore = Commands(), lambda line: None

    def fails(message: str, **options: object) -> None:
        chosen = AutoOptions(**{"photos": photos, "labelled": labelled, **options})  # type: ignore[arg-type]
        with pytest.raises(UserError, match=message) as caught:
            label_automatically(chosen, tmp_path / "out", *ignore)
        assert "\n" not in str(caught.value)

    fails("--keep 0: a fraction above 0", keep=0.0)
    fails("its labels are of the morphable model 'symmetric'", labelled=pack)
    fails("no such file or folder", photos=tmp_path / "gone")
    only_train = tmp_path / "train_only"
    shutil.copytree(labelled, only_train)
    np.save(only_train / "split.npy", np.full(N_LABELLED, "train"))
    fails("has no samples of the split 'val'", labelled=only_train)


@pytest.mark.slow
def test_a_real_run_stops_at_its_time_limit_and_continues(photos: Path, labelled: Path, tmp_path: Path) -> None:
    training = (
        "--config smoke --logger csv --trainer.max_steps 6 --data.class_path train.data.PackData --data.batch_size 4 "
        "--trainer.callbacks null --trainer.callbacks+=train.callbacks.Checkpoints --trainer.enable_progress_bar false"
    )
    out = tmp_path / "out"
    command = [
        "label", "auto", str(photos), "--labelled", str(labelled), "--out", str(out), "--rounds", "1",
        "--train", training,
    ]  # fmt: skip
    assert CliRunner().invoke(app, [*command, "--time-limit", "1"]).exit_code == 3  # before the first step
    stopped = CliRunner().invoke(app, [*command, "--time-limit", "6"])
    assert stopped.exit_code == 3, stopped.output
    finished = CliRunner().invoke(app, command)
    assert finished.exit_code == 0, finished.output
    rows = read_curve(out)
    assert [row["round"] for row in rows] == [0, 1]
    assert rows[1]["labels"] > 0
    assert rows[0]["synthetic/nme_all"] > 0
