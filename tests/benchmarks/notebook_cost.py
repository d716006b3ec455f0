"""What the notebooks take at their defaults: seconds and peak memory, each executed whole in a new kernel.

    python tests/benchmarks/notebook_cost.py [--save]

--save writes the numbers into the notebooks' metadata, from which `sweep --dry-run` makes its first guess."""

import argparse
import tempfile
from pathlib import Path

import nbformat

from viztools import execute, points

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = ("Inverting_convnet_representations", "Class_score_and_Saliency_Map_Visualization")


def main():
    """Print a line a notebook."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--save", action="store_true", help="write the numbers into the notebooks")
    save = parser.parse_args().save
    for path in (NOTEBOOKS / f"{name}.ipynb" for name in NAMES):
        with tempfile.TemporaryDirectory() as folder:
            found = execute.point(points.point(path, {}, folder=folder), each=1)
        print(f"{path.stem}: {found['status']}, {found['seconds']:.0f} s, {found['memory']:.2f} GiB {found['error']}")
        if save and found["status"] == "done":
            notebook = nbformat.read(path, 4)
            notebook.metadata["vizlib"] = {key: found[key] for key in ("work", "seconds", "memory")}
            nbformat.write(notebook, path)
    execute.end()


if __name__ == "__main__":
    main()
