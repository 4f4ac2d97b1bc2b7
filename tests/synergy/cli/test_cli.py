import errno
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import synergy
from synergy import cli
from synergy.cli import app
from synergy.errors import UserError


def test_version():
    assert CliRunner().invoke(app, ["--version"]).output == f"synergy {synergy.__version__}\n"


@pytest.mark.parametrize("command", ["demo", "predict", "assets", "eval", "label", "train", "bench"])
def test_every_command_explains_itself(command):
    assert command in CliRunner().invoke(app, ["--help"]).output
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert len(result.output) > 200


def test_a_users_mistake_is_one_line_and_status_2():
    code = "import sys; from synergy.cli import main; sys.argv = ['synergy', 'predict', 'gone.jpg']; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.strip() == "error: gone.jpg: no such file or folder"


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["a b.jpg", "--format", "csv"], "synergy predict 'a b.jpg' --format csv"),
        (["photos"], "synergy predict photos"),
    ],
)
def test_an_input_without_a_command_gives_the_command_that_was_meant(tmp_path, monkeypatch, arguments, meant):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b.jpg").write_bytes(b"x")
    (tmp_path / "photos").mkdir()
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert result.exit_code == 2
    assert f"No such command '{arguments[0]}'. Did you mean: {meant}" in result.stderr
    assert "Did you mean: synergy predict" not in CliRunner().invoke(app, ["gone.jpg"]).stderr


def fail_with(monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(cli, "app", fail)


def test_messages_are_no_markup(monkeypatch, capsys):
    """An extra in brackets stays, and a closing tag in a name is no error of its own."""

    fail_with(monkeypatch, UserError("pip install 'x[train]' x[/b].jpg :smile:"))
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: pip install 'x[train]' x[/b].jpg :smile:\n"


@pytest.mark.parametrize(("names", "place"), [((), ""), (("out/pack.npy",), "out/pack.npy: ")])
def test_a_full_disk_is_one_line(monkeypatch, capsys, names, place):
    reason = os.strerror(errno.ENOSPC)
    fail_with(monkeypatch, OSError(errno.ENOSPC, reason, *names))
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"error: {place}{reason}\n"


def test_other_errors_of_the_system_keep_their_traceback(monkeypatch):
    fail_with(monkeypatch, ConnectionResetError(errno.ECONNRESET, "reset"))
    with pytest.raises(ConnectionResetError):
        cli.main()
