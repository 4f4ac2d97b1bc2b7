import json
import multiprocessing
import os
import signal
import time

import pytest

from synergy.demo import random_face
from synergy.errors import UserError
from synergy.results import RECORD, ResultFolder

FACE = random_face((0, 0, 0), seed=0).to_dict()


def put(results, source, content, key="k", formats=("txt",), files=("",)):
    staged = results.stage()
    for ending in files:
        path = staged / f"{source}{ending}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return results.finish(source, key, formats, [FACE], staged=staged)


def lines(folder):
    return [json.loads(line) for line in (folder / RECORD).read_bytes().splitlines()]


def names(folder):
    return [image["name"] for image in json.loads((folder / "predictions.json").read_text())["images"]]


@pytest.fixture
def results(tmp_path):
    with ResultFolder(tmp_path) as folder:
        yield folder


def test_what_is_finished_is_known_to_the_next_run(tmp_path, results):
    assert results.finished("a", "k", ["txt"]) is None
    put(results, "sub/a", "one")
    again = ResultFolder(tmp_path)
    found = again.finished("sub/a", "k", ["txt"])
    assert (found.images, found.faces, found.files) == (1, 1, ("sub/a.txt",))
    assert again.finished("sub/a", "k", []) == found
    assert again.finished("sub/a", "other", ["txt"]) is None
    assert again.finished("sub/a", "k", ["txt", "ply"]) is None
    (tmp_path / "sub/a.txt").unlink()
    assert again.finished("sub/a", "k", ["txt"]) is None


def test_another_format_is_added_to_the_files_of_the_same_settings(tmp_path, results):
    put(results, "a", "picture", formats=("txt",), files=("_picture",))
    put(results, "a", "mesh", formats=("ply",), files=("_mesh",))
    found = ResultFolder(tmp_path).finished("a", "k", ["txt", "ply"])
    assert found.files == ("a_mesh.txt", "a_picture.txt")
    (tmp_path / "a_picture.txt").unlink()
    put(results, "a", "mesh", formats=("ply",), files=("_mesh",))
    assert results.finished("a", "k", ["txt"]) is None
    assert results.finished("a", "k", ["ply"]).files == ("a_mesh.txt",)


def test_the_last_settings_count_and_their_files_replace_the_others(tmp_path, results):
    put(results, "a", "old", key="1", files=("_0", "_1"))
    put(results, "b", "kept")
    put(results, "a", "new", key="2", files=("_0",))
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["a_0.txt", "b.txt"]
    assert (tmp_path / "a_0.txt").read_text() == "new"
    results.write_tables(["json", "csv"])
    assert names(tmp_path) == ["a", "b"]
    assert (tmp_path / "predictions.csv").read_text().count("\n") == 3


@pytest.mark.parametrize("torn", [b"{", b'{"source": "b", "key"', b"\xff\xfe"])
def test_a_line_that_was_cut_off_is_dropped(tmp_path, results, torn):
    put(results, "a", "one")
    with (tmp_path / RECORD).open("ab") as file:
        file.write(torn)
    again = ResultFolder(tmp_path)
    assert again.finished("a", "k", ["txt"]) is not None
    again.write_tables(["json"])
    assert names(tmp_path) == ["a"]
    put(again, "b", "two")
    put(results, "c", "three")
    assert [line["source"] for line in lines(tmp_path)] == ["a", "b", "c"]


def test_a_video_is_finished_by_its_last_line(tmp_path, results):
    for i in range(3):
        results.add_frame("v", "1", f"v#{i}", i / 10, [FACE])
    assert results.finished("v", "1", []) is None
    results.write_tables(["json"])
    assert names(tmp_path) == ["v#0", "v#1", "v#2"]
    # Another run with other settings finds fewer frames.
    for i in range(2):
        results.add_frame("v", "2", f"v#{i}", i / 10, [])
    results.finish("v", "2", [], None, (2, 0))
    found = ResultFolder(tmp_path).finished("v", "2", [])
    assert (found.images, found.faces) == (2, 0)
    results.write_tables(["json"])
    assert names(tmp_path) == ["v#0", "v#1"]
    # A run with other settings that does not come to an end changes nothing.
    results.add_frame("v", "3", "v#0", 0.0, [FACE])
    results.write_tables(["json"])
    written = json.loads((tmp_path / "predictions.json").read_text())["images"]
    assert [(image["name"], image["faces"]) for image in written] == [("v#0", []), ("v#1", [])]


def test_a_problem_is_kept_with_the_files_that_have_it(tmp_path, results):
    results.finish("v", "1", ["overlay"], None, (2, 0), "no sound")
    results.finish("v", "1", ["glb"], None, (2, 0))
    assert ResultFolder(tmp_path).finished("v", "1", ["overlay"]).problem == "no sound"
    results.finish("v", "2", ["glb"], None, (2, 0))
    assert results.finished("v", "2", ["glb"]).problem == ""


@pytest.mark.parametrize("content", ["hello\n", "[]\n", '{"source": 1, "key": "k"}\n', '{"images": []}\n'])
def test_a_file_that_is_no_record_is_one_line(tmp_path, content):
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(UserError, match="not a record of results"):
        ResultFolder(tmp_path)
    assert (tmp_path / RECORD).read_text() == content


def test_numbers_that_json_lacks_are_refused_and_nothing_is_left(tmp_path, results):
    staged = results.stage()
    staged.mkdir()
    (staged / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="JSON"):
        results.finish("a", "k", ["txt"], [FACE | {"score": float("nan")}], staged=staged)
    assert not staged.exists()
    assert results.finished("a", "k", ["txt"]) is None
    put(results, "a", "one")
    assert len(lines(tmp_path)) == 1


def test_failures_are_listed_until_the_input_can_be_used(tmp_path, results):
    put(results, "b", "one")
    for name, reason in (("c", "no image"), ("a", "=1+1"), ("c", "no image"), ("a", "still no image")):
        results.fail(name, "k", reason)
    results.write_tables(["json"])
    assert (tmp_path / "skipped.csv").read_text().split("\n") == ["name,reason", "a,still no image", "c,no image", ""]
    assert names(tmp_path) == ["b"]
    assert len(lines(tmp_path)) == 4
    again = ResultFolder(tmp_path)
    assert again.finished("a", "k", []) is None
    put(again, "a", "two")
    again.forget_failure("c")
    again.forget_failure("never failed")
    again.write_tables(["json"])
    assert not (tmp_path / "skipped.csv").exists()
    assert names(tmp_path) == ["a", "b"]


def test_a_failure_keeps_the_earlier_result(tmp_path, results):
    put(results, "a", "one", key="1")
    results.fail("a", "2", "no image")
    results.write_tables(["json"])
    assert names(tmp_path) == ["a"]
    assert results.finished("a", "1", ["txt"]) is not None


@pytest.mark.parametrize("folder", [".", "", "a", ".."])
def test_only_staged_folders_are_moved_and_removed(tmp_path, results, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "photo.jpg").write_text("x")
    with pytest.raises(ValueError, match="not a folder of staged files"):
        results.finish("s", "k", [], [FACE], staged=type(tmp_path)(folder))
    with pytest.raises(ValueError, match="not a folder of staged files"):
        results.fail("s", "k", "reason", type(tmp_path)(folder))
    assert (tmp_path / "a" / "photo.jpg").exists()


def test_hidden_folders_of_other_machines_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "node")
    monkeypatch.setattr("synergy.results._is_running", lambda pid: pid == 5)
    folders = [".partial-node-4-abc_1", ".partial-node-5-abc_1", ".partial-node-7-5-abc_1", ".partial-node-7-4-abc_1"]
    for name in [*folders, ".partial-x"]:
        (tmp_path / name).mkdir()
    with ResultFolder(tmp_path):
        pass
    assert {path.name for path in tmp_path.glob(".partial*")} == {*folders[1:], ".partial-x"}


def work(folder, sources, content, pause):
    with ResultFolder(folder) as results:
        for source in sources:
            if results.finished(source, "k", ["txt"]) is None:
                put(results, source, content, files=("_0", "_1"))
                time.sleep(pause)
        results.write_tables(["json", "csv"])


def start(folder, sources, content, pause=0.0):
    process = multiprocessing.get_context("fork").Process(target=work, args=(folder, sources, content, pause))
    process.start()
    return process


def check(folder, sources):
    """Every finished input has one line, and files that one process wrote."""
    recorded = [line["source"] for line in lines(folder)]
    assert sorted(recorded) == sorted(sources)
    for source in sources:
        contents = {(folder / f"{source}_{i}.txt").read_text() for i in (0, 1)}
        assert len(contents) == 1
    assert names(folder) == sorted(sources)


def test_two_processes_in_one_folder_lose_and_mix_nothing(tmp_path):
    sources = [f"s{i:03}" for i in range(80)]
    orders = (sources, sources[::-1], sources[40:] + sources[:40])
    processes = [start(tmp_path, order, f"writer {i}") for i, order in enumerate(orders)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    check(tmp_path, sources)
    assert not list(tmp_path.glob(".partial*"))


def test_processes_killed_at_any_moment_lose_only_what_was_not_finished(tmp_path):
    sources = [f"s{i:03}" for i in range(60)]
    for attempt in range(8):
        before = len(lines(tmp_path)) if (tmp_path / RECORD).exists() else 0
        process = start(tmp_path, sources, f"attempt {attempt}", pause=0.001)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if (tmp_path / RECORD).exists() and (tmp_path / RECORD).read_bytes().count(b"\n") > before + attempt:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    process = start(tmp_path, sources, "last")
    process.join()
    assert process.exitcode == 0
    check(tmp_path, sources)
    # The hidden folders of the killed processes are gone.
    assert not list(tmp_path.glob(".partial*"))
