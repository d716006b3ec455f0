"""Students' notebooks from the solved ones: `python -m vizlib exercises` writes notebooks/exercises/*.ipynb.

Only notebooks/solutions is edited by hand. nbgrader's generate_assignment reads the same files, but is not needed."""

import re
from pathlib import Path

import nbformat

from vizlib import files
from vizlib.errors import InputError

REGION = re.compile(r"^( *)### BEGIN SOLUTION\n(.*?)\n *### END SOLUTION$", re.M | re.S)
ANSWER = "*Your answer here.*"


def student(solved):
    """A notebook without its solutions and outputs, from one with them; cells keep their identifiers and grading.
    InputError where a cell for solutions has nothing marked as one."""
    notebook = nbformat.from_dict(solved)
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = ANSWER if cell.cell_type == "markdown" else _emptied(cell)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def _emptied(cell):
    source, count = REGION.subn(_stub, cell.source)
    if not count or "SOLUTION" in source:
        raise InputError(f"{cell.id} needs ### BEGIN SOLUTION and ### END SOLUTION around what students write.")
    return source


def _stub(region):
    lines = len(region[2].splitlines())
    words = f"about {lines} lines are enough" if lines > 1 else "one line is enough"
    return f'{region[1]}# your code here: {words}\n{region[1]}raise NotImplementedError("not written yet")'


def generate(source, target):
    """Write every students' notebook and give their paths; what else is there stays. source, target: two folders;
    InputError where the first has no exercise."""
    solved = sorted(Path(source).glob("e*.ipynb"))
    if not solved:
        raise InputError(f"There are no solutions in {source}: run this where the project was checked out.")
    if Path(target).resolve() == Path(source).resolve():
        raise InputError(f"{target} holds the solutions, which would be overwritten; give another folder.")
    for path in solved:
        text = nbformat.writes(student(nbformat.read(path, 4)))
        files.write(Path(target) / path.name, (text + "\n").encode())
    return [Path(target) / path.name for path in solved]
