"""The targets of `fuzz/` in the default test run: valid files, files that once failed, and damaged files."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS

FAILED_ONCE = sorted((Path(__file__).parents[1] / "fuzz" / "failed_once").glob("*/*"))


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A valid file after some changes: bytes replaced, a part removed, repeated or inserted, or the end cut off."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        size = len(content)
        # Half of the changes are in the header, where they matter most.
        start = draw(st.integers(0, draw(st.sampled_from([min(200, size), size]))))
        kind = draw(st.sampled_from(["replace", "insert", "remove", "repeat", "cut"]))
        if kind in ("replace", "insert"):
            new = draw(st.sampled_from([b"\0", b"\xff", b"\xff\xff\xff\x7f", b"-1", b"NaN"]) | st.binary(max_size=8))
            content[start : start + (len(new) if kind == "replace" else 0)] = new
        elif kind == "cut":
            del content[start:]
        else:
            end = start + draw(st.integers(1, 64))
            content[start:end] = content[start:end] * 2 if kind == "repeat" else b""
    return bytes(content)


_VALUES = [None, True, -1, 0, 1e300, 10**400, float("nan"), "", "text", [], [[]], {}, {"a": None}]


@st.composite
def changed_json(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A valid JSON document in which some values are others, or are missing."""
    content = json.loads(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(content)
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        if draw(st.booleans()):
            parent[key] = deepcopy(draw(st.sampled_from(_VALUES)))
        elif isinstance(parent, dict):
            parent.pop(key, None)
    return json.dumps(content).encode() + b"\n"


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every dictionary or list in a JSON value, with each of its keys or its first two indices."""
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value[:2]))
    return [
        place
        for key, item in items
        for place in [(value, key), *(_places(item) if isinstance(item, (dict, list)) else [])]
    ]


def test_json_with_other_values_gives_a_result_or_a_documented_error(tmp_path: Path) -> None:
    seeds = [seed for seed in TARGETS["json"].seeds() if seed.startswith((b"{", b"[{"))]

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(changed_json(seeds))
    def check(content: bytes) -> None:
        TARGETS["json"].read(content, tmp_path)

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_give_a_result_or_a_documented_error(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    for seed in seeds:
        target.read(seed, tmp_path)

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(damaged(seeds))
    def check(content: bytes) -> None:
        target.read(content, tmp_path)

    check()


@pytest.mark.parametrize("path", FAILED_ONCE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_files_that_failed_once(path: Path, tmp_path: Path) -> None:
    TARGETS[path.parent.name].read(path.read_bytes(), tmp_path)
