"""What a class costs: processor seconds and memory of every exercise, and many kernels at once on one machine.

    python tests/benchmarks/classroom.py exercises [NAME …] [--save]   every solution, executed (and saved so)
    python tests/benchmarks/classroom.py kernels 1 2 5 10              N kernels at once make a small picture each

Processor seconds are user + system of the kernel, after its first cell (imports, networks, photographs) has run.
Memory is the proportional set size (PSS), which counts shared pages once, summed over all kernels, or a kernel's peak
resident size (RSS). Thread caps come from the environment, for example TF_NUM_INTRAOP_THREADS=1."""

import argparse
import json
import os
import time
from pathlib import Path

import nbformat
import psutil
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS = ROOT / "notebooks/solutions"
ENVIRONMENT = {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
USED = "import resource; print([getattr(resource.getrusage(resource.RUSAGE_SELF), 'ru_' + k) for k in "
USED += "('utime', 'stime', 'maxrss')])"
PICTURE = """
import time; begun = time.time()
from vizlib import images, inversion, networks, optimise
network, photo = networks.load("vgg16"), images.load("chelsea", size=96)
optimise.last(inversion.invert(network, photo, "block3_conv3", steps=20, every=20))
print(time.time())
"""


def used(client):
    """(processor seconds, peak RSS in MB) of a notebook client's kernel so far."""
    client.nb.cells.append(nbformat.v4.new_code_cell(USED))
    client.execute_cell(client.nb.cells[-1], len(client.nb.cells) - 1, store_history=False)
    user, system, peak = json.loads(client.nb.cells.pop().outputs[0].text)
    return user + system, peak / 1024


def exercise(path, *, save):
    """(seconds to import, processor seconds after that, wall-clock seconds after that, peak MB) of one notebook."""
    notebook = nbformat.read(path, 4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", record_timing=False)
    with client.setup_kernel(env=ENVIRONMENT, cwd=str(path.parent)):
        start = begun = None
        for index, cell in enumerate(list(notebook.cells)):
            client.execute_cell(cell, index)
            if start is None and cell.cell_type == "code":
                start, begun = used(client)[0], time.perf_counter()
        wall = time.perf_counter() - begun
        end, peak = used(client)
    if save:
        for count, cell in enumerate([c for c in notebook.cells if c.cell_type == "code"], 1):
            cell.execution_count = count
            for output in cell.outputs:
                output.pop("transient", None)
                if "execution_count" in output:
                    output["execution_count"] = count
        nbformat.write(notebook, path)
    return start, end - start, wall, peak


def exercises(names, *, save):
    """Print a table row an exercise."""
    print("| exercise | processor s | seconds | peak MB | (start, processor s) |\n|---|---|---|---|---|")
    for path in sorted(SOLUTIONS.glob("e*.ipynb")):
        if not names or path.stem[:3] in names:
            start, processor, wall, peak = exercise(path, save=save)
            print(f"| {path.stem} | {processor:.1f} | {wall:.1f} | {peak:.0f} | {start:.1f} |", flush=True)


def pss(pid):
    """The proportional set size of a process in MB."""
    return psutil.Process(pid).memory_full_info().pss / 2**20


def together(count):
    """(sum of PSS in MB after the picture, seconds to the first and to the last picture) of so many kernels."""
    begun = time.time()
    started = [start_new_kernel(kernel_name="python3", env=ENVIRONMENT, cwd=str(ROOT)) for _ in range(count)]
    try:
        for _, client in started:
            client.execute(PICTURE)
        done = []
        for _, client in started:
            text = ""
            while not text.strip():
                message = client.get_iopub_msg(timeout=600)
                assert message["msg_type"] != "error", message["content"]["evalue"]
                text += message["content"].get("text", "")
            done.append(float(text) - begun)
        memory = sum(pss(manager.provisioner.pid) for manager, _ in started)
        return memory, min(done), max(done)
    finally:
        for manager, client in started:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def kernels(counts):
    """Print a table row a number of kernels."""
    print("| kernels at once | memory, MB (sum of PSS) | first picture, s | last picture, s |\n|---|---|---|---|")
    for count in counts:
        memory, first, last = together(count)
        print(f"| {count} | {memory:.0f} | {first:.0f} | {last:.0f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("exercises", "kernels"))
    parser.add_argument("which", nargs="*", help="names such as e03, or numbers of kernels")
    parser.add_argument("--save", action="store_true", help="write executed notebooks back")
    given = parser.parse_args()
    if given.what == "exercises":
        exercises(given.which, save=given.save)
    else:
        kernels([int(n) for n in given.which or (1, 2, 5, 10)])
