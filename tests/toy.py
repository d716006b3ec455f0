"""A notebook that runs in a second and fails in every way that a test asks for; no TensorFlow."""

import nbformat

PARAMETERS = """mode: str = "fine"  # how it ends
number: int = 0  # any number
names: list = []  # any names
out: str = "runs/toy"  # folder for results
interactive: bool = False  # nobody is there"""

BODY = """import os, time
from pathlib import Path
import numpy as np
from vizlib import errors, images, runs
with open(os.environ["TOY_JOURNAL"], "a") as file:
    print(number, file=file)
folder, first = runs.folder(out), Path(out, "first")
again = first.exists()
first.touch()
if mode == "slow":
    time.sleep(1)
if mode == "hang" or (mode == "hang once" and not again):
    time.sleep(600)
if mode == "killed" or (mode == "killed once" and not again):
    os.kill(os.getpid(), 9)
if mode == "runner killed once" and not again:
    os.kill(os.getppid(), 9)
    time.sleep(600)
if mode == "raise":
    raise errors.InputError("number is wrong; try another.")
if mode == "memory":
    held = np.ones(3 * 2**27)
    time.sleep(600)
if mode == "large":
    (folder / "large.bin").write_bytes(os.urandom(400_000))"""

END = """if mode != "no summary":
    images.save(np.full((16, 16, 3), number % 10 / 10), folder / "picture.png")
    numbers = {"layers": {mode: {"half": number / 2}}, "said": {"mode": mode, "names": names}}
    runs.write_summary(folder, parameters={"mode": mode, "number": number}, numbers=numbers, seconds=0.1)"""


def write(path):
    """Write the notebook to a path; gives the path."""
    cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in (BODY, END)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path
