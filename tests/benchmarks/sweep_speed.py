"""A sweep of 100 small inversions (64 px, 20 steps) against papermill, called once a point.

    python tests/benchmarks/sweep_speed.py [--papermill 100]

Aim: the sweep takes at most a third of the time. With fewer than 100 calls of papermill, their time is scaled up."""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from viztools import points, records, sweep

NOTEBOOK = Path(__file__).parents[2] / "notebooks/Inverting_convnet_representations.ipynb"
LAYERS = [
    f"block{b}_conv{c}" for b, c in ((2, 2), (3, 1), (3, 2), (3, 3), (4, 1), (4, 2), (4, 3), (5, 1), (5, 2), (5, 3))
]
SMALL = {"size": 64, "iterations": 20, "sections": "layers"}


def papermill(given, folder):
    """One call as a user would make it; its seconds."""
    Path(folder).mkdir()
    begun, options = time.perf_counter(), [f"{name}={value}" for name, value in given.items()]
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--log-level", "ERROR", "-k", "python3"]
    command += [NOTEBOOK, f"{folder}/out.ipynb", "-p", "out", folder]
    command += itertools.chain(*(["-p", *option.split("=")] for option in options))
    subprocess.run(list(map(str, command)), check=True, env={**os.environ, "JUPYTER_PREFER_ENV_PATH": "1"})
    return time.perf_counter() - begun


def main():
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--papermill", type=int, default=100, help="calls, spread over the points")
    calls = parser.parse_args().papermill
    every = [SMALL | {"layer": layer, "seed": seed} for seed, layer in itertools.product(range(10), LAYERS)]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        found = sweep.run(
            [points.point(NOTEBOOK, p, out=f"{folder}/sweep") for p in every], f"{folder}/sweep", sweep.local
        )
        ours = time.perf_counter() - begun
        assert all(r["status"] == "done" for r in found.values()) and len(records.ledger(f"{folder}/sweep")) == 100
        chosen = every[:: max(1, 100 // calls)][:calls]
        theirs = [papermill(given, f"{folder}/{k}") for k, given in enumerate(chosen)]
    mean = sum(theirs) / len(theirs)
    print(f"sweep of 100 points: {ours:.0f} s, {ours / 100:.2f} s a point by {sweep.shares(100)[0]} workers")
    said = f"papermill, {len(theirs)} calls: {mean:.2f} s a point, {100 * mean:.0f} s for 100"
    print(f"{said}: {100 * mean / ours:.1f} times as long")


if __name__ == "__main__":
    main()
