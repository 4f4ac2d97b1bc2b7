"""Runs of recipes: what a step needs, what is repeated and what is not, and a real run that is killed and continues."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import filelock
import pytest
from typer.testing import CliRunner

from synergy.checkpoints import read_checkpoint
from synergy.cli import app
from synergy.cli.train import execute
from synergy.errors import TimeLimitError, UserError
from train.recipe import read_recipe
from train.recipe_run import RecipeRun

ROOT = Path(__file__).parents[2]

# Two steps per data file, one that joins them, and one that trains.
RECIPE = """
steps:
  part-{set}:
    for: {a: --left, b: }
    run: copy {data}/{set}.tar --to {out}/part {more}
  joined:
    run: join {part-*} --to {out}/joined.json
    results: joined.json
  net:
    run: >-
      train fit --data.pack {joined}/joined.json --trainer.default_root_dir {out} --sizes '{0: 80}'
"""


class Fake:
    """A recipe of commands that only record their arguments and write one file.

    Attributes:
        commands: the commands that were run.
        fail: word in a command that fails.
        limited: whether training reaches its time limit.
    """

    def __init__(self, folder: Path, text: str = RECIPE) -> None:
        self.data, self.out = folder / "data", folder / "out"
        self.data.mkdir(exist_ok=True)
        for name in ("a.tar", "a.npz", "b.tar"):
            (self.data / name).write_text(name)
        self.path = folder / "recipe.yaml"
        self.path.write_text(text)
        self.fail, self.limited = "", False
        self.commands: list[list[str]] = []
        self.lines: list[str] = []

    def execute(self, arguments: list[str]) -> None:
        self.commands.append(arguments)
        if self.fail and self.fail in " ".join(arguments):
            raise UserError(f"{self.data / 'a.tar'}: not a tar file")
        flag = "--trainer.default_root_dir" if arguments[0] == "train" else "--to"
        target = Path(arguments[arguments.index(flag) + 1])
        if arguments[0] == "train":
            (target / "checkpoints").mkdir(parents=True, exist_ok=True)
            target = target / "checkpoints" / "last.ckpt"
        target.write_text(json.dumps({"figure": 1.5}))
        if self.limited and arguments[0] == "train":
            raise TimeLimitError("stopped")

    def run(self, *only: str, redo: bool = False, seconds: float | None = None) -> list[str]:
        """Run the recipe and return the steps that were run, by the folder that they wrote to."""
        recipe = read_recipe(str(self.path))
        del self.commands[:]
        self.finished = RecipeRun(recipe, self.data, self.out, self.execute, self.lines.append, redo, seconds).run(only)
        return self.steps

    @property
    def steps(self) -> list[str]:
        folders = {step.name for step in read_recipe(str(self.path)).steps}
        outputs = [c[c.index("--trainer.default_root_dir" if c[0] == "train" else "--to") + 1] for c in self.commands]
        return [next(part for part in Path(path).parts if part in folders) for path in outputs]

    @property
    def manifest(self) -> dict:
        return json.loads((self.out / "manifest.json").read_text())


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def test_steps_run_in_order_with_paths_and_are_recorded(fake: Fake) -> None:
    assert fake.run() == ["part-a", "part-b", "joined", "net"]
    data, out = str(fake.data), str(fake.out)
    assert fake.commands[0] == ["copy", f"{data}/a.tar", "--to", f"{out}/part-a/part", "--left"]
    assert fake.commands[1] == ["copy", f"{data}/b.tar", "--to", f"{out}/part-b/part"]
    assert fake.commands[2] == ["join", f"{out}/part-a", f"{out}/part-b", "--to", f"{out}/joined/joined.json"]
    assert fake.commands[3][-2:] == ["--sizes", "{0: 80}"]
    steps = fake.manifest["steps"]
    assert steps["part-a"]["inputs"] == {
        f"{{data}}/{name}": hashlib.sha256(name.encode()).hexdigest() for name in ("a.tar", "a.npz")
    }
    assert steps["joined"]["results"] == {"figure": 1.5}
    content = (fake.out / "joined" / "joined.json").read_bytes()
    assert steps["joined"]["outputs"] == {"joined.json": hashlib.sha256(content).hexdigest()}
    assert steps["net"]["command"].startswith("synergy train fit --data.pack ")
    assert fake.run() == []


def test_a_failed_step_is_named_and_the_others_are_not_repeated(fake: Fake) -> None:
    fake.fail = "join"
    with pytest.raises(UserError, match=r"^step joined: .*a\.tar: not a tar file$"):
        fake.run()
    assert fake.steps == ["part-a", "part-b", "joined"]
    fake.fail = ""
    assert fake.run() == ["joined", "net"]


def test_results_that_were_not_written_are_one_line(tmp_path: Path) -> None:
    fake = Fake(tmp_path, RECIPE.replace("results: joined.json", "results: other.json"))
    with pytest.raises(UserError, match=r"^step joined: its command did not write other\.json, which 'results' names$"):
        fake.run()
    fake.path.write_text(RECIPE)
    assert fake.run() == ["joined", "net"]


def test_a_missing_or_changed_file_is_one_line_and_a_fix_repeats_nothing(fake: Fake) -> None:
    fake.run()
    damaged = fake.data / "a.npz"
    damaged.write_text("other")
    with pytest.raises(UserError, match=r"^step part-a: its input \{data\}/a.npz has changed .*--redo$"):
        fake.run()
    damaged.unlink()
    (fake.data / "a.tar").unlink()
    with pytest.raises(UserError, match=r"^step part-a: .*a\.tar is missing$"):
        fake.run()
    for name in ("a.tar", "a.npz"):
        (fake.data / name).write_text(name)
    assert fake.run() == []


def test_a_file_that_the_recipe_states_is_checked_before_any_work(tmp_path: Path) -> None:
    right = hashlib.sha256(b"a.tar").hexdigest()
    fake = Fake(tmp_path, f"data: {{a.tar: {right}}}\n{RECIPE}")
    (fake.data / "a.tar").write_text("cut")
    with pytest.raises(
        UserError, match=r"^step part-a: .*a\.tar is damaged, or not the file that recipe\.yaml states$"
    ):
        fake.run()
    assert fake.steps == []
    (fake.data / "a.tar").write_text("a.tar")
    (fake.data / "b.tar").unlink()
    with pytest.raises(UserError, match=r"^step part-b: .*b\.tar is missing$"):
        fake.run()
    assert fake.steps == []
    assert fake.run("part-a") == ["part-a"]


def test_redo_repeats_what_has_changed_and_keeps_the_old_folder(fake: Fake) -> None:
    fake.run()
    (fake.data / "b.tar").write_text("other")
    old = (fake.out / "part-b" / "part").read_bytes()
    assert fake.run(redo=True) == ["part-b"]  # its output is the same, so the later steps are still right
    assert (fake.out / "part-b~1" / "part").read_bytes() == old
    fake.path.write_text(RECIPE.replace("--left", "--right"))
    with pytest.raises(UserError, match=r"step part-a: its command has changed"):
        fake.run()
    assert fake.run(redo=True) == ["part-a"]


def test_a_changed_or_removed_output_is_reported(fake: Fake) -> None:
    fake.run()
    output = fake.out / "part-a" / "part"
    output.write_text("changed")
    with pytest.raises(UserError, match=r"step part-a: .*part-a/part was changed or removed .* remove .* to repeat"):
        fake.run()
    output.unlink()
    output.parent.rmdir()
    assert fake.run() == ["part-a"]


def test_training_continues_from_its_checkpoint(fake: Fake) -> None:
    fake.limited = True
    assert fake.run(seconds=100) == ["part-a", "part-b", "joined", "net"]
    assert not fake.finished
    assert fake.commands[-1][-2] == "--time_limit"
    assert 0 < float(fake.commands[-1][-1]) <= 100
    fake.limited = False
    assert fake.run() == ["net"]
    assert fake.finished
    assert fake.commands[-1][-2:] == ["--ckpt_path", str(fake.out / "net" / "checkpoints" / "last.ckpt")]
    assert fake.run() == []


def test_training_that_was_begun_with_other_inputs_needs_redo(fake: Fake) -> None:
    fake.limited = True
    fake.run(seconds=100)
    fake.path.write_text(RECIPE.replace("{0: 80}", "{0: 96}"))
    with pytest.raises(UserError, match="step net: its command has changed since it was begun"):
        fake.run()
    fake.run(redo=True)
    assert "--ckpt_path" not in fake.commands[-1]


def test_no_step_is_begun_without_time(fake: Fake) -> None:
    assert fake.run(seconds=1) == []
    assert not fake.finished


def test_what_a_killed_step_has_left_is_removed_except_parts(fake: Fake) -> None:
    fake.fail = "copy"
    for left in ("part", "parts/1.npz"):
        with pytest.raises(UserError, match="step part-a"):
            fake.run()
        path = fake.out / "part-a" / left
        path.parent.mkdir(exist_ok=True)
        path.write_text("cut")
        with pytest.raises(UserError, match="step part-a"):
            fake.run()
        assert path.exists() == (left != "part")


def test_only_named_steps(fake: Fake) -> None:
    with pytest.raises(UserError, match="step joined needs step part-a, which is not finished"):
        fake.run("joined")
    assert fake.run("part-*") == ["part-a", "part-b"]
    assert fake.run("joined") == ["joined"]
    with pytest.raises(UserError, match="--only jonied: no such step; the steps are part-a, part-b, joined, net"):
        fake.run("jonied")


def test_two_processes_cannot_share_a_folder(fake: Fake) -> None:
    fake.out.mkdir()
    with filelock.FileLock(fake.out / ".lock"), pytest.raises(UserError, match="another process works in this folder"):
        fake.run()


REAL = """
steps:
  faces-{set}:
    for: {first: --seed 1, second: --seed 2}
    run: label render --out {out} --faces 4 {more}
  faces:
    run: label merge {faces-*} {data}/more --out {out}
  net:
    run: >-
      train fit --config smoke --logger csv --trainer.enable_progress_bar false
      --data train.data.PackData --data.pack {faces} --data.batch_size 8
      --model.schedule.sizes '{0: 32}' --trainer.log_every_n_steps 1
      --trainer.callbacks+ train.callbacks.Checkpoints --trainer.callbacks.minutes 0.005
      --trainer.max_steps 40 --trainer.check_val_every_n_epoch 1000 --trainer.default_root_dir {out}
  weights:
    run: train export {net}/checkpoints/last.ckpt --pack {faces} --out {out}/net.safetensors
    results: net.json
"""


# The same training with two processes.
TWO = REAL.replace(
    "--data.batch_size 8",
    "--data.batch_size 4 --trainer.devices 2 --trainer.strategy ddp_find_unused_parameters_true",
)

COMMAND = ["train", "recipe", "--plan", "real.yaml", "--data", "d", "--out", "out"]


def start(folder: Path) -> subprocess.Popen[str]:
    """Start `synergy train recipe` in a process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "synergy", *COMMAND]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def start_and_kill(folder: Path, how: signal.Signals = signal.SIGKILL) -> str:
    """Start `synergy train recipe`, kill it when a checkpoint of an unfinished training is there; return its output."""
    process = start(folder)
    checkpoint = folder / "out" / "net" / "checkpoints" / "last.ckpt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(how)
    output, _ = process.communicate()
    assert 0 < read_checkpoint(checkpoint)["global_step"] < 40
    return output


def run_to_end(folder: Path) -> str:
    """Run `synergy train recipe` in a process and return its output."""
    process = start(folder)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output


def test_a_recipe_killed_in_training_continues_after_damaged_data(
    pack_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real.yaml").write_text(REAL)
    images = tmp_path / "d" / "more" / "images.bin"
    whole = images.read_bytes()
    images.write_bytes(whole[:-10])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^step faces: d/more: images\.bin is cut short$"):
        CliRunner().invoke(app, COMMAND, catch_exceptions=False)
    images.write_bytes(whole)
    assert "[1/5] faces-first: finished before" in start_and_kill(tmp_path)
    output = run_to_end(tmp_path)
    assert "[3/5] faces: finished before" in output
    assert f"net: continues from {Path('out/net/checkpoints/last.ckpt')}" in output
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["steps"]["weights"]["results"]["training"]["steps"] == 40
    assert all(step["finished"] for step in manifest["steps"].values())


@pytest.mark.slow
def test_a_recipe_with_two_processes_that_is_terminated_ends_its_training_and_continues(
    pack_copy: Path, tmp_path: Path
) -> None:
    (tmp_path / "real.yaml").write_text(TWO)
    assert "--trainer.devices 2" in start_and_kill(tmp_path, signal.SIGTERM)
    output = run_to_end(tmp_path)
    assert f"net: continues from {Path('out/net/checkpoints/last.ckpt')}" in output
    assert json.loads((tmp_path / "out" / "weights" / "net.json").read_text())["training"]["steps"] == 40


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0, nullcontext()),
        (2, pytest.raises(UserError, match=r"^training has failed with exit status 2; the reason is printed above$")),
        (3, pytest.raises(TimeLimitError)),
    ],
)
def test_the_exit_status_of_training_in_a_process_of_its_own(
    status: int, error: AbstractContextManager[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho $* > {tmp_path}/arguments\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    for devices in (["--trainer.devices", "2"], ["--trainer.devices=2"]):
        with error:
            execute(["train", "fit", *devices])
        assert (tmp_path / "arguments").read_text() == f"-m synergy train fit {' '.join(devices)}\n"


@pytest.mark.slow
def test_every_run_of_a_recipe_gives_the_same_weights(tmp_path: Path) -> None:
    contents = []
    for name in ("uninterrupted", "killed"):
        folder = tmp_path / name
        (folder / "d").mkdir(parents=True)
        (folder / "real.yaml").write_text(REAL.replace(" {data}/more", ""))
        if name == "killed":
            start_and_kill(folder)
        run_to_end(folder)
        out = folder / "out"
        packs = {str(file.relative_to(out)): file.read_bytes() for file in out.glob("faces*/*")}
        weights = {file.name: file.read_bytes() for file in (out / "weights").iterdir()}
        contents.append(packs | weights)
    assert {"faces/manifest.json", "net.safetensors", "net.json"} <= set(contents[0])
    assert contents[0] == contents[1]


@pytest.fixture
def pack_copy(tmp_path: Path) -> Path:
    """A rendered pack in the data folder of the recipe."""
    out = tmp_path / "d" / "more"
    CliRunner().invoke(app, ["label", "render", "--out", str(out), "--faces", "8"], catch_exceptions=False)
    return out


def test_a_command_that_stops_at_its_time_limit_is_not_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    for status, error in ((3, TimeLimitError), (2, UserError)):
        monkeypatch.setattr("synergy.cli.app", lambda *_, status=status, **__: status)
        with pytest.raises(error):
            execute(["label", "auto"])
    monkeypatch.setattr("synergy.cli.app", lambda *_, **__: 0)
    execute(["label", "auto"])


def test_a_wrong_option_of_a_command_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^No such option: --nonsense") as caught:
        execute(["label", "merge", "a", "--out", "b", "--nonsense", "c"])
    assert "\n" not in str(caught.value)
