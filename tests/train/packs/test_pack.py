import json

import numpy as np
import pytest

from synergy.errors import UserError
from train.packs.merge import merge_packs
from train.packs.pack import Pack, PackWriter


def row(i: int) -> dict:
    rng = np.random.default_rng(i)
    return {
        "image": np.full((120, 120, 3), 10 * i, np.uint8),
        "names": f"face{i}" + "x" * i,
        "sources": "set",
        "split": "train",
        "landmarks68": rng.normal(size=(68, 3)) * 30,
        "visibility68": np.full(68, 2),
        "params": np.arange(27.0),
        "pose_deg": np.zeros(3),
        "weight": 1.0,
        "residual": np.nan,
        "annotated68": np.full((68, 2), np.nan),
        "annotated21": np.full((21, 2), np.nan),
        "teacher68": np.full((68, 3), np.nan),
        "identity": i,
        "attributes": np.full(9, -1),
        "blendshapes": np.full(52, 0.25),
        "crop": np.zeros(3),
    }


MANIFEST = {
    "model": "m", "model_digest": "d", "n_shape": 10, "n_expression": 5, "mm_per_unit": 1.0,
    "attribute_names": [],
    "made_by": "test", "sources": {"set": {}}, "statistics": {},
}  # fmt: skip


def write(path, first: int, parts: list[int]):
    writer = PackWriter(path, {"seed": first})
    at = first
    for part, count in enumerate(parts):
        writer.write(part, [row(at + i) for i in range(count)])
        at += count
    return writer


def test_written_rows_are_read_back(tmp_path):
    pack = write(tmp_path / "p", 0, [2, 0, 3]).finish(MANIFEST)
    assert len(pack) == 5
    assert pack.manifest["n"] == 5
    assert pack.names.tolist() == [row(i)["names"] for i in range(5)]
    np.testing.assert_array_equal(pack.landmarks68[3], row(3)["landmarks68"].astype(np.float32))
    assert pack.identity.tolist() == [0, 1, 2, 3, 4]
    assert (pack.blendshapes == np.float16(0.25)).all()
    assert pack.image(4).shape == (120, 120, 3)
    assert np.abs(pack.image(4).astype(int) - 40).max() <= 2
    assert not (tmp_path / "p" / "parts").exists()
    with pytest.raises(AttributeError, match="no array 'nonsense'"):
        _ = pack.nonsense


def test_an_interrupted_run_goes_on_and_other_options_do_not_mix(tmp_path):
    write(tmp_path / "p", 0, [2])
    with pytest.raises(UserError, match="other data or options"):
        PackWriter(tmp_path / "p", {"seed": 1})
    writer = PackWriter(tmp_path / "p", {"seed": 0})
    assert writer.has(0)
    assert not writer.has(1)
    writer.write(1, [row(2)])
    interrupted = writer.finish(MANIFEST).manifest["hash"]
    assert interrupted == write(tmp_path / "q", 0, [2, 1]).finish(MANIFEST).manifest["hash"]
    with pytest.raises(UserError, match="already holds"):
        PackWriter(tmp_path / "p", {"seed": 0})


def test_dropped_rows_leave_no_trace(tmp_path):
    pack = write(tmp_path / "p", 0, [4]).finish(MANIFEST, np.array([False, True, False, False]))
    assert pack.names.tolist() == [row(i)["names"] for i in (0, 2, 3)]
    assert np.abs(pack.image(1).astype(int) - 20).max() <= 2


def test_a_pack_without_faces_is_an_error_and_can_be_made_again(tmp_path):
    for _ in range(2):
        with pytest.raises(UserError, match="all 3 faces are held out or repeated"):
            write(tmp_path / "p", 0, [3]).finish(MANIFEST, np.ones(3, bool))
    assert len(write(tmp_path / "p", 0, [3]).finish(MANIFEST)) == 3


def damaged(path, what):
    pack = write(path, 0, [2]).finish(MANIFEST)
    file = pack.path / what
    if what == "manifest.json":
        file.write_text(json.dumps({**pack.manifest, "version": 99}))
    else:
        file.write_bytes(file.read_bytes()[:-10])
    return path


@pytest.mark.parametrize(
    ("what", "message"),
    [("images.bin", "cut short"), ("weight.npy", "not a complete pack"), ("manifest.json", "version 99")],
)
def test_damage_is_one_line(tmp_path, what, message):
    with pytest.raises(UserError, match=message):
        Pack.open(damaged(tmp_path / "p", what))
    with pytest.raises(UserError, match="not a complete pack"):
        Pack.open(tmp_path / "nowhere")


def test_nothing_usable_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no usable face"):
        write(tmp_path / "p", 0, [0]).finish(MANIFEST)


def test_packs_merge(tmp_path):
    first, second = write(tmp_path / "a", 0, [2]).finish(MANIFEST), write(tmp_path / "b", 2, [1]).finish(MANIFEST)
    merged = Pack.open(merge_packs([first.path, second.path], tmp_path / "c"))
    assert merged.names.tolist() == [row(i)["names"] for i in range(3)]
    np.testing.assert_array_equal(merged.image(2), second.image(0))
    again = Pack.open(merge_packs([merged.path, write(tmp_path / "f", 3, [1]).finish(MANIFEST).path], tmp_path / "g"))
    assert again.names.tolist() == [row(i)["names"] for i in range(4)]
    other = write(tmp_path / "d", 3, [1]).finish({**MANIFEST, "model_digest": "other"})
    with pytest.raises(UserError, match="different models"):
        merge_packs([first.path, other.path], tmp_path / "e")


def test_a_merged_pack_does_not_depend_on_the_folders(tmp_path):
    merged = [
        merge_packs([write(tmp_path / run / name, i, [1]).finish(MANIFEST).path for i, name in enumerate("ab")], out)
        for run, out in (("first", tmp_path / "x"), ("second", tmp_path / "y"))
    ]
    contents = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in merged]
    assert contents[0] == contents[1]
