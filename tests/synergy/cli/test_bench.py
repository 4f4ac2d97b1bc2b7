import json

from typer.testing import CliRunner

from bfm_assets import open_face
from synergy.cli import app
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
