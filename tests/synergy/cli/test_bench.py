import json

from typer.testing import CliRunner

from bfm_assets import open_face
from synergy.cli import app
from synergy.errors import UserError
from synergy.weights import save_weights


def test_table_and_json(tmp_path, small_net):
    save_weights(small_net, tmp_path / "net.safetensors", {}, open_face())
    arguments = [
        "bench",
        "--model",
        str(tmp_path / "net.safetensors"),
        "--repeats",
        "2",
        "--json",
        str(tmp_path / "b.json"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "multiply-adds" in result.output
    assert json.loads((tmp_path / "b.json").read_text())["network, one crop"]["unit"] == "ms"


def test_a_file_that_cannot_be_written_is_said_before_any_work(tmp_path):
    result = CliRunner().invoke(app, ["bench", "--model", "nothing", "--json", str(tmp_path / "gone" / "b.json")])
    assert isinstance(result.exception, UserError)
    assert "there is no folder" in str(result.exception)
