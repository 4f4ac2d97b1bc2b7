"""What `make test-wheel` takes from README.md and pyproject.toml; it runs for minutes and is no test of the suite."""

import tomllib
from pathlib import Path

from release.test_wheel import IN_WHEEL, ROOT, SKIPPED, readme_commands, readme_install, readme_python

README = (ROOT / "README.md").read_text()


def test_commands_are_run_unless_a_reason_is_given() -> None:
    text = "    synergy predict a.jpg   # comment\n    synergy predict --camera 0\nsynergy is\n    pip install x\n"
    assert readme_commands(text) == (["synergy predict a.jpg"], {"synergy predict --camera 0": "needs a camera"})


def test_the_readme_has_what_is_tested() -> None:
    commands, skipped = readme_commands(README)
    assert "synergy predict photo.jpg" in commands
    assert set(skipped.values()) == set(SKIPPED.values()), "remove the reasons that are not used any more"
    assert "synergy.FacePredictor()" in readme_python(README)
    install, server = readme_install(README)
    assert install == "pip install -c constraints.txt -e ."
    assert [line.split()[1] for line in server] == ["uninstall", "install"]


def test_the_package_carries_the_model_card_and_the_licences() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name in ("LICENSE", "NOTICE", "MODEL_CARD.md"):
        assert name in project["license-files"]
        assert f"licenses/{name}" in IN_WHEEL
        assert (ROOT / name).is_file()
    card = Path(ROOT / "MODEL_CARD.md").read_text()
    assert "research" in card
