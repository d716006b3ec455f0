"""Runs and sweeps, and the faults that they must survive, each really caused: kernels, runners, sweeps, workers and
schedulers are killed, disks are full or read-only. Most run a toy notebook; the last ones the real inversion."""

import collections
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
import toy

from vizlib import images
from vizlib.errors import InputError
from viztools import commands, execute, points, records, sweep

ROOT = Path(__file__).resolve().parents[1]
INVERSION = ROOT / "notebooks/Inverting_convnet_representations.ipynb"
CLASS_SCORE = ROOT / "notebooks/Class_score_and_Saliency_Map_Visualization.ipynb"
mount = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small disk")


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_JOURNAL", str(tmp_path / "journal"))
    return toy.write(tmp_path / "toy.ipynb")


def is_ours(process):
    """Whether it is a runner or a kernel that lives; it may end between two looks at it."""
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and bool({"viztools.kernel", "ipykernel_launcher"} & set(process.cmdline()))
    except psutil.Error:
        return False


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    execute.end()
    execute.ended.clear()
    ours = [p for p in psutil.Process().children(recursive=True) if is_ours(p)]
    assert not [p for p in psutil.wait_procs(ours, timeout=5)[1] if is_ours(p)]


def written(tmp_path, **blocks):
    """A sweep file beside the toy notebook."""
    (tmp_path / "sweep.yaml").write_text(json.dumps({"notebook": "toy.ipynb", **blocks}))
    return tmp_path / "sweep.yaml"


def begun(tmp_path):
    """How often each number's execution has begun."""
    return collections.Counter(map(int, (tmp_path / "journal").read_text().split()))


def executed(tmp_path, notebook, mode, **options):
    point = points.point(notebook, {"mode": mode}, out=tmp_path / "out")
    return execute.point(point, **{"timeout": 60, **options}), Path(point["folder"])


def start(file, out, *more):
    """The sweep in a process of its own, as a user starts it."""
    command = [sys.executable, "-m", "vizlib", "sweep", str(file), "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


def until(true, *, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


# ---- parameters and points, before any kernel


def test_parameters_get_the_types_that_the_notebook_declares():
    given = {"layer": "block4_conv2", "regularization": "3", "size": "64", "seeds": "[0, 1]", "sections": "layers"}
    assert points.checked(INVERSION, given) == given | {"regularization": 3.0, "size": 64, "seeds": [0, 1]}
    assert points.checked(CLASS_SCORE, {"dataset": "None", "classes": ["goldfish", 7]})["dataset"] is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"layr": "block4_conv2"}, "Unknown parameter 'layr': did you mean layer"),
        ({"size": "64.5"}, "size must be a whole number"),
        ({"size": True}, "size must be int, not 'True'"),
        ({"regularization": "much"}, "regularization must be a number"),
        ({"layers": {"a": 1}}, "layers"),
        ({"layer": ["a"]}, "layer must be str"),
        ({"out": "elsewhere"}, "out is set by the command line"),
        ({"x = 1\nimport os": "1"}, "Unknown parameter"),
    ],
)
def test_wrong_parameters_are_one_sentence(given, said):
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        if "layers" in given:
            given = {"layers": [given["layers"]]}
        points.checked(INVERSION, given)
    assert said in str(caught.value)


def test_an_id_is_of_all_that_decides_the_results(tmp_path, notebook, monkeypatch):
    make = lambda **given: points.point(notebook, given, out=tmp_path)["id"]
    same = make(number=2)
    assert same == make(number="2") == make(mode="fine", number=2) != make(number=3)
    (tmp_path / "photo.jpg").write_bytes(b"one")
    first = make(mode=str(tmp_path / "photo.jpg"))
    (tmp_path / "photo.jpg").write_bytes(b"two")
    assert make(mode=str(tmp_path / "photo.jpg")) != first, "another photograph under the same name"
    monkeypatch.setattr(points, "__version__", "9.9")
    assert make(number=2) != same
    monkeypatch.undo()
    monkeypatch.setattr(points, "_weights", lambda: "others")
    assert make(number=2) != same
    monkeypatch.undo()
    changed = nbformat.read(notebook, 4)
    changed.cells[1].source += "\npass"
    nbformat.write(changed, tmp_path / "other.ipynb")
    assert points.point(tmp_path / "other.ipynb", {"number": 2}, out=tmp_path)["id"] != same


def test_a_link_to_itself_is_one_sentence(tmp_path, notebook):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match=r"^[^\n]*loop[^\n]*; give another\.$"):
        points.point(notebook, {"number": 1}, folder=tmp_path / "loop/deeper")


@pytest.mark.parametrize("folder", ["note.txt", "note.txt/deeper/still"])
def test_a_file_where_the_folder_should_be_is_told_before_anything_starts(tmp_path, notebook, folder, capsys):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match=r"note.txt is a file; give another\.$"):
        points.point(notebook, {"number": 1}, folder=tmp_path / folder)
    with pytest.raises(InputError, match="is a file"):
        points.point(notebook, {"number": 1}, out=tmp_path / folder)
    file = written(tmp_path, grid={"number": [1]})
    for command in (["sweep", str(file)], ["sweep", str(file), "--dry-run"], ["run", str(notebook)]):
        assert commands.main([*command, "--out", str(tmp_path / folder)]) == 2
        assert capsys.readouterr().err.endswith("note.txt is a file; give another.\n")


def test_grid_zip_list_and_both_notebooks(tmp_path, notebook):
    file = written(tmp_path, grid={"number": [1, 2], "mode": ["fine", "slow"]}, zip={"names": [["a"], ["b"]]})
    found = [p["parameters"] for p in points.read(file, out=tmp_path)]
    assert len(found) == 8 and {"mode": "slow", "number": 2, "names": ["b"]} in found
    written(tmp_path, list=[{"number": 1}, {"number": 1}, {"number": 2, "mode": "slow"}])
    assert len(points.read(file, out=tmp_path)) == 2, "the same point twice is one point"
    blocks = [{"notebook": str(n), "grid": {"seed": [0, 1]}} for n in (INVERSION, CLASS_SCORE)]
    file.write_text(json.dumps(blocks))
    assert len({p["notebook"] for p in points.read(file, out=tmp_path)}) == 2


BOMB = "a: &a [x, x]\n" + "\n".join(f"{b}: &{b} [*{a}, *{a}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "alias"),
        ("notebook: toy.ipynb\ngrid: {number: 3}", "hold a list"),
        ("notebook: toy.ipynb\ngrid: [1, 2]", "hold a list"),
        ("notebook: toy.ipynb\nzip: {number: [1, 2], mode: [fine]}", "differ in length"),
        ("notebook: toy.ipynb\ngird: {number: [1]}", "did you mean grid"),
        ("notebook: toy.ipynb\ngrid: {nmber: [1]}", "nmber=1: Unknown parameter"),
        ("notebook: nothere.ipynb", "cannot be read as a notebook"),
        (f"notebook: toy.ipynb\ngrid: {{a: {[1] * 1000}, b: {[1] * 1000}}}", "are the most"),
        ("just text", "notebook: PATH"),
        ("!!python/object/apply:os.system [true]", "cannot be read as YAML"),
        ("[" * 5000, "cannot be read as YAML"),
        ("notebook: toy.ipynb\nnotebook: toy.ipynb", "stands twice"),
        ("notebook: toy.ipynb\nparameters: {number: 1}\ngrid: {number: [1]}", "gives number in two places"),
        ("notebook: toy.ipynb\ngrid: {number: []}", "stands for 0 points"),
        ('notebook: "a\\0b"', "null"),
        ("x" * 1_100_000, "more than 1 MB"),
        ("notebook: [", "cannot be read as YAML"),
    ],
)  # fmt: skip
def test_wrong_sweep_files_are_one_sentence(tmp_path, notebook, text, said):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        points.read(tmp_path / "bad.yaml", out=tmp_path)
    assert said in str(caught.value) and len(str(caught.value)) < 600


# ---- one run


def test_a_run_is_verified_before_it_gets_its_name(tmp_path, notebook):
    found, folder = executed(tmp_path, notebook, "fine")
    assert (found["status"], found["error"], found["fault"]) == ("done", "", "")
    assert {p.name for p in folder.iterdir()} >= {"toy.ipynb", "summary.json", "picture.png", "record.json"}
    assert not (folder / ".unfinished.ipynb").exists() and found["memory"] > 0.05 and found["seconds"] > 0
    assert records.missing(folder / "toy.ipynb", folder, since=0) == ""
    (folder / "summary.json").write_text('{"parameters": {}, "secon')
    assert "torn" in records.missing(folder / "toy.ipynb", folder, since=0)
    (folder / "summary.json").write_text('{"parameters": {}, "seconds": 1}')
    assert "not of this run" in records.missing(folder / "toy.ipynb", folder, since=time.time_ns() + 10**9)
    skipped = nbformat.read(folder / "toy.ipynb", 4)
    skipped.cells[-1].execution_count = None
    skipped.cells[-1].metadata["papermill"] = {"status": "completed", "exception": None}
    nbformat.write(skipped, folder / "toy.ipynb")
    assert "1 of 4 code cells" in records.missing(folder / "toy.ipynb", folder, since=0)


@pytest.mark.parametrize(
    ("mode", "fault", "said", "times"),
    [
        ("raise", "parameters", "InputError: number is wrong; try another.", 1),
        ("no summary", "machine", "summary.json is missing", 2),
        ("killed", "machine", "DeadKernelError", 2),
        ("hang", "machine", "it took longer than 9 s", 2),
        ("memory", "machine", "GiB of memory that it may have", 2),
    ],
)
def test_a_failure_is_one_line_and_only_the_machines_faults_are_tried_again(
    tmp_path, notebook, mode, fault, said, times
):
    options = {"hang": {"timeout": 9}, "memory": {"memory": 1.0}}.get(mode, {})
    found, folder = executed(tmp_path, notebook, mode, retries=1, **options)
    assert (found["status"], found["fault"]) == ("failed", fault) and said in found["error"]
    assert "\n" not in found["error"] and len(found["error"]) <= 500
    assert begun(tmp_path) == {0: times} and not (folder / "toy.ipynb").exists()
    assert records.read(folder) == found
    assert (folder / "failed.ipynb").exists() or mode == "no summary", "how far it came"
    again, _ = executed(tmp_path, notebook, mode, retries=0, **options)
    assert begun(tmp_path)[0] == times + (fault == "machine"), "asked for anew, only the machine's fault is tried"
    assert again["status"] == "failed"


@pytest.mark.parametrize(
    "mode", ["killed once", "runner killed once", pytest.param("hang once", marks=pytest.mark.slow)]
)
def test_what_died_or_hung_is_done_at_the_second_try(tmp_path, notebook, mode):
    found, folder = executed(tmp_path, notebook, mode, retries=1, timeout=9 if "hang" in mode else 60)
    assert found["status"] == "done" and begun(tmp_path) == {0: 2} and (folder / "toy.ipynb").exists()


def test_points_share_a_kernel_but_no_variable(tmp_path, notebook):
    both = nbformat.read(notebook, 4)
    both.cells[1].source += "\nassert 'left' not in globals(); left = os.getpid()"
    both.cells[2].source = both.cells[2].source.replace('"said":', '"process": left, "said":')
    nbformat.write(both, notebook)
    kernels = []
    for number in range(4):
        point = points.point(notebook, {"number": number}, out=tmp_path / "out")
        assert execute.point(point, each=3)["status"] == "done"
        kernels.append(json.loads((Path(point["folder"]) / "summary.json").read_text())["process"])
        counts = [c.execution_count for c in nbformat.read(Path(point["folder"]) / "toy.ipynb", 4).cells]
        assert counts == [1, 2, 3, 4], "as if the kernel were new"
    assert len(set(kernels[:3])) == 1 and kernels[3] != kernels[0], "a new kernel after three points"


@pytest.mark.slow
def test_a_runner_stays_small_and_a_changed_network_gets_a_new_kernel(tmp_path, notebook):
    runner, opened, kernels = None, [], []
    for number in range(14):
        point = points.point(notebook, {"number": number}, out=tmp_path / "out")
        point["basis"] = "another" if number == 13 else point["basis"]
        assert execute.point(point, each=8)["status"] == "done"
        runner = runner or psutil.Process(execute._mine.runner.process.pid)
        opened.append(runner.num_fds())
        kernels += [p.pid for p in runner.children() if p.status() != psutil.STATUS_ZOMBIE]
    assert opened[6] <= opened[1] + 3 and opened[-1] <= opened[1] + 10, opened
    assert len(set(kernels)) == 3, "one for eight points, one for five, one for another network"


def test_ids_see_through_homes_folders_and_networks(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    make = lambda **given: points.point(CLASS_SCORE, given, out=tmp_path)["id"]
    for name, given in (("p.jpg", {"image": "~/p.jpg"}), ("mine.safetensors", {"network": "~/mine.json"}),
                        ("set/cat/1.jpg", {"dataset": "~/set"})):  # fmt: skip
        before = make(**given)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"new")
        assert make(**given) != before, name


@pytest.mark.parametrize(
    ("kind", "text", "fault"),
    [
        ("InputError", "Unknown layer 'x'", "parameters"),
        ("ValueError", "shapes differ", "parameters"),
        ("InputError", "'x.png' cannot be written (No space left on device); free", "machine"),
        ("OSError", "[Errno 24] Too many open files", "machine"),
        ("RuntimeError", "can't start new thread", "machine"),
        ("ModuleNotFoundError", "No module named 'skimage'", "machine"),
        ("KeyboardInterrupt", "", "machine"),
    ],
)
def test_whose_fault_it_was(kind, text, fault):
    assert records.blame(kind, text) == fault


HOSTILE = ["../../escaped", 'quo"te\'s', "two\nlines", "${HOME} {out} {0}", "__import__('os').system('touch hit')",
           "naïve 漢字 🐈", "x" * 10_000, "\\", '"""', "\x00\x07"]  # fmt: skip


def test_hostile_texts_arrive_as_they_are_and_write_nothing_elsewhere(tmp_path, notebook):
    (tmp_path / "journal").touch()
    before = set(tmp_path.rglob("*"))
    for text in HOSTILE:
        point = points.point(notebook, {"names": [text, "b"], "mode": text}, out=tmp_path / "out", cwd=tmp_path)
        found = execute.point(point, retries=0)
        assert found["status"] == "done", found["error"]
        said = json.loads((Path(point["folder"]) / "summary.json").read_text())["said"]
        assert said["mode"] == text and said["names"] == [text, "b"]
        records.append(tmp_path / "out", found)
    assert {p for p in tmp_path.rglob("*") if (tmp_path / "out") not in (p, *p.parents)} == before
    assert (
        len((tmp_path / "out/ledger.jsonl").read_text().splitlines())
        == len(HOSTILE)
        == len(records.ledger(tmp_path / "out"))
    )


def test_folders_that_results_must_not_go_to(tmp_path, notebook):
    with pytest.raises(InputError, match=r"takes no \{…\}"):
        points.point(notebook, {}, folder=tmp_path / "{mode}/../../x")
    with pytest.raises(InputError, match="holds the notebook itself"):
        points.point(notebook, {}, folder=tmp_path)
    point = points.point(notebook, {}, out=tmp_path / "out")
    (tmp_path / "out").mkdir(), (tmp_path / "elsewhere").mkdir()
    Path(point["folder"]).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link to"):
        points.point(notebook, {}, out=tmp_path / "out")


def test_run_as_a_command(tmp_path, notebook, capsys):
    out = tmp_path / "here"
    arguments = ["run", str(notebook), "--out", str(out)]
    assert commands.main([*arguments, "-p", "number=4"]) == 0 and "done in" in capsys.readouterr().out
    assert commands.main([*arguments, "-p", "number=4"]) == 0 and "was done already" in capsys.readouterr().out
    assert commands.main([*arguments, "-p", "number=5"]) == 1
    assert "holds a finished run with other parameters" in capsys.readouterr().out
    assert json.loads((out / "summary.json").read_text())["parameters"]["number"] == 4
    assert commands.main([*arguments, "-p", "numbr=5"]) == 2 and "did you mean number" in capsys.readouterr().err
    assert commands.main([*arguments, "-p", "number"]) == 2 and "name=value" in capsys.readouterr().err
    assert commands.main(["run", str(notebook), "--out", str(tmp_path / "bad"), "-p", "mode=raise"]) == 1


def test_no_person_sits_before_a_point_that_a_notebook_starts(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "lesson.ipynb")
    runner = execute.Runner(threads=None, show=False)
    assert "JPY_SESSION_NAME" not in psutil.Process(runner.process.pid).environ()
    runner.end()


def test_a_run_can_be_stopped(tmp_path, notebook):
    command = [sys.executable, "-m", "vizlib", "run", str(notebook), "--out", str(tmp_path / "out"), "-p", "mode=hang"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    until(lambda: (tmp_path / "journal").exists())
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[0]
    assert process.returncode == 130 and "Traceback" not in said
    until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in below), seconds=10)


# ---- sweeps


def test_a_sweep_does_each_point_once_and_says_how_it_went(tmp_path, notebook):
    file = written(tmp_path, list=[{"number": 1}, {"number": 2}, {"number": 3, "mode": "raise"}])
    process = start(file, tmp_path / "out")
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and "2 of 3 points are done" in said and "2 done, 1 failed, 0 left" in said
    assert "failed by the parameters, " in said and "number is wrong; try another." in said
    again = start(file, tmp_path / "out")
    assert "2 of 3 points are done" in again.communicate(timeout=60)[0]
    assert begun(tmp_path) == {1: 1, 2: 1, 3: 1}
    keys = {"id", "parameters", "status", "seconds", "memory", "host", "error", "fault", "vizlib"}
    assert all(keys <= set(r) for r in records.ledger(tmp_path / "out").values())


def test_dry_run_executes_nothing_and_estimates_by_what_was_measured(tmp_path, notebook, capsys):
    file = written(tmp_path, grid={"number": [1, 2, 3]})
    assert commands.main(["sweep", str(file), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    assert "3 of 3 points are left" in capsys.readouterr().out and not (tmp_path / "journal").exists()
    done = points.read(file, out=tmp_path / "out")[0]
    (tmp_path / "out").mkdir()
    records.append(tmp_path / "out", records.record(done, seconds=120.0, memory=1.5))
    assert commands.main(["sweep", str(file), "--out", str(tmp_path / "out"), "--dry-run", "--workers", "2"]) == 0
    told = capsys.readouterr().out
    assert told.count("about   120 s, 1.5 GiB") == 3 and "about 3 minutes by 2 workers" in told
    assert commands.main(["sweep", str(file), "--out", str(tmp_path / "out"), "--dry-run", "--threads", "3"]) == 0
    assert "of 3 threads" in capsys.readouterr().out


def test_estimates_follow_work(tmp_path, notebook):
    every = [points.point(INVERSION, {"size": s, "layer": "block3_conv1"}, out=tmp_path) for s in (64, 128, 256)]
    for point, seconds in zip(every, (2.0, 5.0), strict=False):  # 1 + 1 a 64 px image
        records.append(tmp_path, records.record(point, seconds=seconds, memory=1.0))
    assert [round(seconds, 2) for _, seconds, _ in sweep.estimate(every, tmp_path)] == [2.0, 5.0, 17.0]
    records.append(tmp_path, records.record(every[0], seconds=12.0, memory=1.0))  # the first one also compiled
    assert [round(seconds, 1) for _, seconds, _ in sweep.estimate(every, tmp_path)] == [3.4, 13.6, 54.4]
    ((_, seconds, memory),) = sweep.estimate([points.point(notebook, {}, out=tmp_path)], tmp_path)
    assert np.isnan(seconds) and np.isnan(memory), "unknown, not one second"


def test_ctrl_c_ends_long_points_at_once_and_begins_no_other(tmp_path, notebook):
    file = written(tmp_path, parameters={"mode": "hang"}, grid={"number": list(range(6))})
    process = start(file, tmp_path / "out", "--workers", "2")
    until(lambda: (tmp_path / "journal").exists() and len(begun(tmp_path)) == 2)
    process.send_signal(signal.SIGINT)
    stopped = time.monotonic()
    assert "goes on from here" in process.communicate(timeout=30)[0] and process.returncode == 130
    assert time.monotonic() - stopped < 10 and len(begun(tmp_path)) == 2


@pytest.mark.parametrize("cause", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_sweep_that_was_killed_or_stopped_goes_on(tmp_path, notebook, cause):
    file = written(tmp_path, parameters={"mode": "slow"}, grid={"number": list(range(6))})
    process = start(file, tmp_path / "out", "--workers", "2")
    until(lambda: len(records.ledger(tmp_path / "out")) >= 2)
    process.send_signal(cause)
    said = process.communicate(timeout=30)[0]
    assert process.returncode == (130 if cause == signal.SIGINT else -9)
    assert cause == signal.SIGKILL or "the same command goes on from here" in said
    finished = [r["parameters"]["number"] for r in records.ledger(tmp_path / "out").values()]
    again = start(file, tmp_path / "out", "--workers", "2")
    assert "6 of 6 points are done" in again.communicate(timeout=60)[0]
    assert all(begun(tmp_path)[number] == 1 for number in finished), "nothing finished is run twice"
    assert all(1 <= count <= 2 for count in begun(tmp_path).values()) and len(begun(tmp_path)) == 6


def test_a_torn_ledger_is_mended_from_the_records(tmp_path, notebook):
    every = points.read(written(tmp_path, grid={"number": [1, 2, 3]}), out=tmp_path / "out")
    sweep.run(every[:2], tmp_path / "out", sweep.local)
    ledger = tmp_path / "out/ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-40])
    kept = next(iter(records.ledger(tmp_path / "out")))
    (tmp_path / "out" / kept / "record.json").write_text("")
    found = sweep.run(every, tmp_path / "out", sweep.local)
    assert begun(tmp_path) == {1: 1, 2: 1, 3: 1} and len(found) == 3
    assert records.ledger(tmp_path / "out") == found


def test_two_sweeps_on_one_folder(tmp_path, notebook, capsys):
    file = written(tmp_path, parameters={"mode": "slow"}, grid={"number": [1, 2]})
    first = start(file, tmp_path / "out")
    until(lambda: (tmp_path / "journal").exists())
    assert commands.main(["sweep", str(file), "--out", str(tmp_path / "out")]) == 2
    assert "Another sweep is writing into" in capsys.readouterr().err
    assert "2 of 2 points" in first.communicate(timeout=60)[0]


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@mount
def test_a_full_disk_loses_nothing_and_the_sweep_goes_on_with_more(tmp_path, notebook, small_disk):
    file = written(tmp_path, parameters={"mode": "large"}, grid={"number": list(range(5))})
    process = start(file, small_disk / "out", "--workers", "1", "--retries", "0")
    said = process.communicate(timeout=90)[0]
    assert process.returncode in (1, 2) and "No space left on device" in said and "Traceback" not in said
    done = [json.loads(p.read_text()) for p in (small_disk / "out").glob("*/record.json")]
    done = [r["parameters"]["number"] for r in done if r["status"] == "done"]
    assert 1 <= len(done) < 5
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    process = start(file, small_disk / "out")
    assert "5 of 5 points are done" in process.communicate(timeout=90)[0]
    assert all(begun(tmp_path)[number] == 1 for number in done)


@mount
def test_a_read_only_disk(tmp_path, notebook, small_disk, capsys):
    file = written(tmp_path, grid={"number": [1]})
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert commands.main(["sweep", str(file), "--out", str(small_disk / "out")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert commands.main(["run", str(notebook), "--out", str(small_disk / "out")]) == 1
    told = capsys.readouterr().out
    assert told.count("\n") == 1 and "Read-only" in told
    assert not (tmp_path / "journal").exists()


def test_cores_and_memory_are_shared_out(monkeypatch):
    monkeypatch.setattr(sweep, "cores", lambda: 8)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("", (), {"available": 10 * 2**30}))
    assert sweep.shares(100) == (3, 2, pytest.approx(3.0)), "as many as have 2.3 GiB each"
    assert sweep.shares(2) == (2, 4, pytest.approx(4.5)) and sweep.shares(100, workers=8)[:2] == (8, 1)


# ---- a Dask cluster


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Cluster:
    """A scheduler and workers as processes on the loopback address."""

    def __init__(self, folder):
        self.folder, self.port, self.running = folder, free_port(), []
        self.address = f"tcp://127.0.0.1:{self.port}"

    def scheduler(self):
        return self._start("dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port))

    def worker(self):
        local = self.folder / f"worker{len(self.running)}"
        return self._start("dask_worker", self.address, "--nthreads", "1", "--local-directory", str(local))

    def _start(self, name, *options):
        command = [sys.executable, "-m", f"distributed.cli.{name}", *options, "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.running.append(process := subprocess.Popen(command, cwd=self.folder, **quiet))
        return process

    def kill(self, process):
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()

    def end(self):
        for process in self.running:
            if process.poll() is None:
                self.kill(process)


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    yield made
    made.end()


def test_a_cluster_outlives_a_killed_worker_and_a_scheduler_started_anew(tmp_path, notebook, cluster):
    scheduler, worker, _ = cluster.scheduler(), cluster.worker(), cluster.worker()
    file = written(tmp_path, parameters={"mode": "slow"}, grid={"number": list(range(14))})
    process = start(file, tmp_path / "out", "--scheduler", cluster.address)
    ended = lambda: [r["parameters"]["number"] for r in records.ledger(tmp_path / "out").values()]
    until(lambda: len(ended()) >= 3)
    cluster.kill(worker)
    until(lambda: len(ended()) >= 6)
    cluster.kill(scheduler)
    before = {number: begun(tmp_path)[number] for number in ended()}  # 2 for the one that the killed worker had
    time.sleep(1)
    cluster.scheduler(), cluster.worker(), cluster.worker()
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "14 of 14 points are done" in said, said[-500:]
    assert sorted(ended()) == list(range(14))
    assert before.items() <= begun(tmp_path).items(), "nothing finished is run twice"
    assert max(begun(tmp_path).values()) <= 3


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path, notebook, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "WAIT", 2.0)
    file = written(tmp_path, grid={"number": [1]})
    address = f"tcp://127.0.0.1:{free_port()}"
    assert commands.main(["sweep", str(file), "--out", str(tmp_path / "out"), "--scheduler", address]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("vizlib: No Dask scheduler answers at") and "what is finished is kept" in told


# ---- the real notebooks


SMALL = {"size": 64, "iterations": 20, "sections": "layers", "layer": "block3_conv1"}


@pytest.mark.slow
def test_a_killed_inversion_goes_on_where_it_was(tmp_path):
    given = SMALL | {"iterations": 400, "seed": 5}
    whole = points.point(INVERSION, given, out=tmp_path / "whole")
    killed = points.point(INVERSION, given, out=tmp_path / "killed")
    assert execute.point(whole, threads=1)["status"] == "done"
    worker = threading.Thread(target=lambda: execute.point(killed, threads=1, retries=1))
    worker.start()
    unfinished = Path(killed["folder"]) / "unfinished"
    until(lambda: any(unfinished.glob("*.npz")))
    time.sleep(2)
    for process in psutil.Process().children(recursive=True):
        if is_ours(process) and "ipykernel_launcher" in process.cmdline():
            process.kill()
    worker.join()
    one, other = (images.load(Path(p["folder"]) / "block3_conv1.png") for p in (whole, killed))
    assert records.read(killed["folder"])["status"] == "done" and (one == other).all()


def test_warm_and_cold_kernels_give_the_same_picture(tmp_path):
    made = []
    for out, given in ((0, {"seed": 1}), (1, {"seed": 2}), (1, {"seed": 1})):
        point = points.point(INVERSION, SMALL | given, out=tmp_path / str(out))
        found = execute.point(point, threads=1)
        assert found["status"] == "done", found["error"]
        made.append(images.load(Path(point["folder"]) / "block3_conv1.png"))
    assert (made[0] == made[2]).all() and (made[0] != made[1]).any()


def test_a_parameter_that_the_notebook_refuses_is_named_and_not_tried_again(tmp_path):
    point = points.point(INVERSION, SMALL | {"layer": "block9"}, out=tmp_path)
    found = execute.point(point)
    assert found["fault"] == "parameters" and found["error"].startswith("InputError: Unknown layer 'block9'")
    assert execute.point(point) == found


@pytest.mark.parametrize("notebook", [INVERSION, CLASS_SCORE], ids=["inversion", "class_score"])
def test_saved_notebooks_tell_what_they_took(notebook):
    measured = points.measured(notebook)
    point = points.point(notebook, {}, out="anywhere")
    assert measured["work"] == point["work"] and 30 < measured["seconds"] < 1000 and 0.5 < measured["memory"] < 4


# ---- what the papers of this project promise about it


def test_the_recipe_for_array_jobs_as_it_is_documented(tmp_path, notebook):
    file = written(tmp_path, grid={"number": [1, 2, 3]})
    text = (ROOT / "notebooks/sweeps/README.md").read_text()
    (code,) = [part for part in text.split('"') if part.startswith("import sys; from viztools")]
    code = code.replace("\\\n", "").replace("sweep.yaml", str(file)).replace("'results'", repr(str(tmp_path / "out")))
    subprocess.run([sys.executable, "-c", code, "1"], check=True, cwd=ROOT)
    written(tmp_path, list=[{"mode": "raise"}])
    result = subprocess.run([sys.executable, "-c", code, "0"], check=False, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1 and "number is wrong" in result.stderr
    (tmp_path / "journal").write_text("2\n")
    file = written(tmp_path, grid={"number": [1, 2, 3]})
    assert begun(tmp_path) == {2: 1} and not (tmp_path / "out/ledger.jsonl").exists()
    found = sweep.run(points.read(file, out=tmp_path / "out"), tmp_path / "out", sweep.local)
    assert begun(tmp_path) == {1: 1, 2: 1, 3: 1} and records.ledger(tmp_path / "out") == found


def test_the_example_is_nine_layers_by_five_strengths(tmp_path):
    every = points.read(ROOT / "notebooks/sweeps/layers_by_strength.yaml", out=tmp_path)
    pairs = {(p["parameters"]["layer"], p["parameters"]["regularization"]) for p in every}
    assert len(every) == len(pairs) == 45 and len({layer for layer, _ in pairs}) == 9
