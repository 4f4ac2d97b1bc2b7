"""`synergy predict --on ray`: the parts of it without a cluster, and the whole on a local cluster."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bfm_assets import open_face
from synergy.cli import app
from synergy.cli.predict_images import ImageTask, Outcome, input_key
from synergy.cli.predict_ray import ArchiveOutcome, ArchiveTask, _Predict, _read, _units
from synergy.cli.sources import Source
from synergy.errors import UserError
from synergy.shards import ALL, Shard
from synergy.weights import save_weights

BOX = [40, 30, 120, 110]


def write_tar(path, contents):
    with tarfile.open(path, "w") as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def photo(seed):
    file = io.BytesIO()
    image = np.random.default_rng(seed).integers(0, 256, (150, 160, 3), dtype=np.uint8)
    Image.fromarray(image).save(file, "JPEG")
    return file.getvalue()


def file_tasks(n):
    return [ImageTask(f"{i}.jpg", "key", Path(f"{i}.jpg"), Path()) for i in range(n)]


def archive_task(path, shard=ALL, boxes=(), finished=()):
    return ArchiveTask(Source("x.tar", str(path)), shard, "settings", dict(boxes), dict(finished))


def read(unit):
    """Items and contents of the rows of a unit."""
    return [(pickle.loads(row["item"]), row["content"]) for row in _read({"unit": pickle.dumps(unit)})]


def test_files_are_read_in_groups_and_archives_alone(tmp_path):
    archive = archive_task(tmp_path / "x.tar")
    units = list(_units([*file_tasks(70), archive, *file_tasks(1)]))
    assert [1 if isinstance(unit, ArchiveTask) else len(unit) for unit in units] == [64, 1, 7]
    assert read(file_tasks(3)) == [(task, b"") for task in file_tasks(3)]


def test_images_of_an_archive_are_read_unless_they_are_finished_or_in_another_shard(tmp_path):
    contents = {f"{i}.jpg": bytes([i]) for i in range(20)}
    write_tar(tmp_path / "x.tar", contents)
    whole = read(archive_task(tmp_path / "x.tar"))
    assert [content for _, content in whole] == [*contents.values(), b""]
    assert [item.name for item, _ in whole] == [*(f"x.tar/{name}" for name in contents), "x.tar"]
    assert whole[-1][0] == ArchiveOutcome("x.tar", "", 20)
    assert all(item.stage is None for item, _ in whole[:-1])
    key = Source("x.tar/3.jpg", bytes([3])).version()
    finished = {"x.tar/3.jpg": input_key("settings", key, None), "x.tar/4.jpg": "another key"}
    again = [item for item, _ in read(archive_task(tmp_path / "x.tar", finished=finished))]
    assert [item.name for item in again if isinstance(item, ArchiveOutcome)] == ["x.tar/3.jpg", "x.tar"]
    with_boxes = read(archive_task(tmp_path / "x.tar", boxes={"x.tar/3.jpg": [BOX]}, finished=finished))
    assert with_boxes[3][0].boxes == [BOX]
    parts = [read(archive_task(tmp_path / "x.tar", Shard(i, 3))) for i in (1, 2, 3)]
    assert sorted(item.name for part in parts for item, _ in part[:-1]) == sorted(item.name for item, _ in whole[:-1])


def test_an_archive_that_is_cut_off_says_so_at_its_end(tmp_path):
    write_tar(tmp_path / "x.tar", {f"{i}.jpg": bytes(2000) for i in range(4)})
    (tmp_path / "x.tar").write_bytes((tmp_path / "x.tar").read_bytes()[:6000])
    *images, (end, _) = read(archive_task(tmp_path / "x.tar"))
    assert len(images) == end.n_images == 2
    assert "cut off or damaged after 2 images" in end.failure


def worker(tasks):
    """A worker that finds as many faces as the content has bytes."""
    return (Outcome(task, [{}] * len(task.content) if isinstance(task.content, bytes) else []) for task in tasks)


def test_a_batch_gives_one_outcome_per_row():
    pa = pytest.importorskip("pyarrow")
    items = [*file_tasks(2), ImageTask("x.tar/a.jpg", "key", b"", Path()), ArchiveOutcome("x.tar", "", 1)]
    rows = [{"item": pickle.dumps(item), "content": b"abc" * ("x.tar/" in item.name)} for item in items]
    predict = _Predict(pickle.dumps(worker))
    outcomes = [pickle.loads(one) for one in predict(pa.Table.from_pylist(rows))["outcome"]]
    assert outcomes[0] == items[3]
    assert [(one.task.name, len(one.faces), one.task.content) for one in outcomes[1:]] == [
        ("0.jpg", 0, b""),
        ("1.jpg", 0, b""),
        ("x.tar/a.jpg", 3, b""),
    ]


@pytest.fixture
def model(tmp_path, small_net):
    save_weights(small_net, tmp_path / "net.safetensors", {}, open_face())
    return str(tmp_path / "net.safetensors")


def run(*arguments):
    return CliRunner().invoke(app, ["predict", *arguments])


def test_mistakes_are_one_line(tmp_path, model, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(photo(0))
    arguments = (str(tmp_path / "a.jpg"), "--model", model, "--out", str(tmp_path / "out"), "--on", "ray")
    result = run(*arguments, "--format", "json,glb")
    assert str(result.exception) == "--format glb: --on ray writes tables only (json,csv,parquet)"
    monkeypatch.setitem(sys.modules, "ray", None)
    result = run(*arguments)
    assert isinstance(result.exception, UserError)
    assert str(result.exception) == "--on ray needs ray; install the extra 'ray' (docs/install.md)"
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_cannot_be_reached_is_one_line(tmp_path, model, monkeypatch):
    ray = pytest.importorskip("ray")

    def init(**_):
        raise Exception("The current node timed out during startup.\nMore lines.")

    monkeypatch.setattr(ray, "init", init)
    (tmp_path / "a.jpg").write_bytes(photo(0))
    result = run(str(tmp_path / "a.jpg"), "--model", model, "--out", str(tmp_path / "out"), "--on", "ray")
    reason = "Exception: The current node timed out during startup."
    assert str(result.exception) == f"--on ray: Ray did not start or could not be reached ({reason})"


def processes_below(root):
    """Process ids and names of a process's descendants."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text()
                names[int(folder.name)] = (folder / "cmdline").read_text()
            except OSError:
                continue
            parents[int(folder.name)] = int(status[status.rindex(")") + 2 :].split()[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: names[pid] for pid in found - {root} if pid in names}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the worker to kill in /proc")
def test_a_worker_that_is_killed_half_way_loses_and_repeats_nothing(tmp_path, model, monkeypatch):
    pytest.importorskip("ray")
    (tmp_path / "photos").mkdir()
    names = [f"photos/{i:03}.jpg" for i in range(400)]
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(b"no image" if i == 123 else photo(i % 8))
    write_tar(tmp_path / "x.tar", {f"{i}.jpg": photo(i) for i in range(30)})
    names += [f"x.tar/{i}.jpg" for i in range(30)]
    (tmp_path / "boxes.json").write_text(json.dumps({name: [BOX] for name in names}))
    arguments = ["photos", "x.tar", "--model", model, "--boxes", "boxes.json", "--format", "json,parquet"]
    arguments += ["--threads", "1"]
    line = [sys.executable, "-c", "from synergy.cli import main; main()", "predict", *arguments]
    line += ["--on", "ray", "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(line, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    record = tmp_path / "out" / "predictions.jsonl"
    while not record.exists() or record.read_bytes().count(b"\n") < 20:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    workers = [pid for pid, name in processes_below(process.pid).items() if "MapWorker" in name]
    assert workers
    os.kill(workers[0], signal.SIGKILL)
    n_before = record.read_bytes().count(b"\n")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 2
    assert "1 of 430 inputs could not be used" in errors
    assert n_before < 430
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert sorted(line["source"] for line in lines) == sorted(names)
    assert [line["source"] for line in lines if "failed" in line] == ["photos/123.jpg"]
    assert all(len(line["faces"]) == 1 for line in lines if "failed" not in line)
    # The results are those of this machine without Ray, up to rounding.
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, "--out", "local")
    assert "1 of 430 inputs could not be used" in str(result.exception)
    tables = [json.loads((tmp_path / out / "predictions.json").read_text())["images"] for out in ("out", "local")]
    for ours, theirs in zip(*tables, strict=True):
        assert ours["name"] == theirs["name"]
        np.testing.assert_allclose(ours["faces"][0]["landmarks68"], theirs["faces"][0]["landmarks68"], atol=2e-3)
    # A run without Ray knows what the run on Ray has finished.
    again = run(*arguments)
    assert "429 input(s) were finished before and were not repeated" in again.stderr
    assert record.read_text().count("\n") == 430
