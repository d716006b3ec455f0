"""The exercises in nbgrader, from the solved notebook to marks in a CSV file, in a course of one assignment."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("nbgrader")
ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "JUPYTER_PREFER_ENV_PATH": "1"}
NAME = "e02_gradient_map"
HANGING = "while True:\n    pass"
ANSWER = "It would light up at the same places."
CONFIG = "c = get_config()\nc.Execute.timeout = 20\nc.Execute.interrupt_on_timeout = True\n"


def nbgrader(course, *arguments, fails=False):
    told = subprocess.run(
        [str(BIN / "nbgrader"), *arguments], cwd=course, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (told.returncode != 0) == fails, told.stdout[-1000:] + told.stderr[-3000:]
    return told.stdout + told.stderr


def new_course(folder, names):
    (folder / "source/ps1").mkdir(parents=True)
    for name in names:
        shutil.copy(ROOT / f"notebooks/solutions/{name}.ipynb", folder / "source/ps1")
    (folder / "nbgrader_config.py").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    folder = new_course(tmp_path_factory.mktemp("course"), [NAME])
    nbgrader(folder, "generate_assignment", "ps1")
    return folder


def submit(course, student, source, answer=ANSWER):
    """Hand the released notebook in, with this source in the cell to fill (None: as it was released)."""
    notebook = nbformat.read(course / f"release/ps1/{NAME}.ipynb", 4)
    for cell in notebook.cells:
        if cell.id == "e02-solution" and source is not None:
            cell.source = source
        if cell.id == "e02-answer" and source is not None:
            cell.source = answer
    folder = course / f"submitted/{student}/ps1"
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{NAME}.ipynb")


def test_the_solved_notebook_is_valid(course):
    assert "Success! Your notebook passes all the tests." in nbgrader(course, "validate", f"source/ps1/{NAME}.ipynb")


def test_the_released_one_holds_no_solution_and_fails(course):
    released = nbformat.read(course / f"release/ps1/{NAME}.ipynb", 4)
    ours = nbformat.read(ROOT / f"notebooks/exercises/{NAME}.ipynb", 4)
    assert [c.id for c in released.cells] == [c.id for c in ours.cells]
    text = " ".join(c.source for c in released.cells)
    assert "tape.gradient(value, x)[0]).max" not in text and "YOUR ANSWER HERE" in text
    assert "does not pass any tests" in nbgrader(course, "validate", "--invert", f"release/ps1/{NAME}.ipynb")


@pytest.fixture(scope="module")
def graded(course):
    (cell,) = [c for c in nbformat.read(course / f"source/ps1/{NAME}.ipynb", 4).cells if c.id == "e02-solution"]
    submit(course, "right", cell.source)
    submit(course, "wrong", cell.source.replace("np.abs", "np.array"))
    submit(course, "empty", None)
    submit(course, "hanging", HANGING)
    nbgrader(course, "autograde", "ps1")
    nbgrader(course, "generate_feedback", "ps1")
    nbgrader(course, "export", "--to", "marks.csv")
    return course


def test_a_right_a_wrong_an_empty_and_a_hanging_submission_get_their_marks(graded):
    lines = (graded / "marks.csv").read_text(encoding="utf-8").splitlines()
    rows = {row["student_id"]: row for row in csv.DictReader(lines)}
    marks = {student: float(row["raw_score"]) for student, row in rows.items()}
    assert marks == {"right": 5.0, "wrong": 0.0, "empty": 0.0, "hanging": 0.0}
    assert {float(row["max_score"]) for row in rows.values()} == {7.0}


@pytest.mark.parametrize(
    ("student", "words"),
    [
        ("right", "passed"),
        ("wrong", "the absolute value is missing"),
        ("empty", "nothing is written yet"),
        ("hanging", "CellTimeoutError"),
    ],
)
def test_feedback_tells_why(graded, student, words):
    page = (graded / f"feedback/{student}/ps1/{NAME}.html").read_text(encoding="utf-8")
    assert words in page


@pytest.mark.slow
def test_every_exercise_is_valid_solved_and_fails_unsolved(tmp_path):
    names = [p.stem for p in sorted((ROOT / "notebooks/solutions").glob("e*.ipynb"))]
    course = new_course(tmp_path / "course", names)
    nbgrader(course, "generate_assignment", "ps1")
    for name in names:
        assert "passes all the tests" in nbgrader(course, "validate", f"source/ps1/{name}.ipynb")
        assert "does not pass any" in nbgrader(course, "validate", "--invert", f"release/ps1/{name}.ipynb")
