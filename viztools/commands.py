"""The command line, `python -m vizlib`, a function a sub-command, which imports what it needs when it is called."""

import argparse
import dataclasses
import functools
import os
import platform
import sys
import time
from pathlib import Path

import psutil
from jupyter_client.kernelspec import KernelSpecManager

from vizlib.errors import InputError
from vizlib.parameters import number, numbers, positive_integer


def _tensorflow():
    from vizlib.backend import keras, tf

    total = float(tf.reduce_sum(tf.ones((3, 3)) @ tf.ones((3, 3))))
    return total == 27.0, f"TensorFlow {tf.__version__} with Keras {keras.__version__}", "make clean, then make run"


def _networks():
    from vizlib import networks

    sizes = ", ".join(f"{n} ({networks.load(n).model.count_params() / 1e6:.1f} M)" for n in networks.embedded())
    speed = "computes in" if networks.bfloat16_computes() else "lacks (so VGG16 is about half as fast)"
    return True, f"weights as recorded: {sizes}; the processor {speed} bfloat16", ""


def _machine():
    free, python = psutil.virtual_memory().available / 2**30, f"Python {platform.python_version()}"
    fits = free >= 3 and (3, 11) <= sys.version_info[:2] <= (3, 13)
    return fits, f"{python}, {free:.1f} GiB of memory available", "the notebooks need Python 3.11 to 3.13 and 3 GiB"


def _kernel():
    command = Path(KernelSpecManager().get_kernel_spec("python3").argv[0])
    own = not command.is_absolute() or command.parent.samefile(Path(sys.executable).parent)
    advice = "install the kernel here: python -m ipykernel install --sys-prefix"
    return own, f"Jupyter kernel python3 runs {command}", advice


def doctor(options):
    """Print a line a check, `ok` or what to do; gives 1 where any fails."""
    failures = 0
    for check in (_machine, _tensorflow, _networks, _kernel):
        try:
            fine, finding, advice = check()
        except Exception as error:
            fine, finding, advice = False, f"{check.__name__[1:]}: {error}", "see the sentence before"
        failures += not fine
        print(f"ok    {finding}" if fine else f"FAIL  {finding}; {advice}", flush=True)
    return bool(failures)


def finetune(given):
    """Train a copy of a network on photographs and write it; print what was read and how good the written one is."""
    from vizlib import networks, runs, training

    text = given.out.removesuffix(".safetensors").removesuffix(".json")
    out = Path(os.path.abspath(text))
    if text.endswith("/") or out.is_dir():
        raise InputError(f"{given.out} names a folder, not the files in it; give for example --out {out / 'pets'}.")
    network = networks.load(given.network)
    runs.folder(out.parent)  # rather fail now than after the training
    data = training.dataset(given.folder, size=given.size or network.size, seed=given.seed)
    train, held = (len(part[1]) for part in data[:2])
    print(f"{train} photographs to train on, {held} held out, {len(data.skipped)} skipped", *data.skipped, sep="\n  ")
    tuned, _ = training.finetune(network, data, frozen_below=given.frozen_below, epochs=given.epochs, seed=given.seed)
    networks.write(dataclasses.replace(tuned, name=out.name), out)
    accuracy, confusion, _ = training.evaluate(networks.read(out), *data.validation[:2])
    print(f"{out}.json: {accuracy:.2%} of the {held} held out are right; {data.classes}: {confusion.tolist()}")


def run(given):
    """Execute one notebook with parameters into a folder; gives 1 where it fails, and says why."""
    from viztools import execute, points, records

    pairs = [pair.partition("=") for pair in given.p]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise InputError(f"-p takes name=value, not {wrong[0]!r}; for example -p layer=block4_conv2.")
    point = points.point(given.notebook, {name: value for name, _, value in pairs}, out="runs", folder=given.out)
    before = records.finished(point)
    found = execute.point(point, timeout=given.timeout, show=True)
    said = f"{'was done already' if before else 'done'} in {found['seconds']:.0f} s, {found['memory']:.1f} GiB at most"
    print(found["error"] or f"{said}: {point['folder']}")
    return found["status"] == "failed"


def sweep(given):
    """Execute all points of a sweep file that are not finished; gives 1 where any failed."""
    from viztools import points, sweep

    out = given.out or Path("runs") / Path(given.file).stem
    every = points.read(given.file, out=out)
    options = {name: getattr(given, name) for name in ("workers", "threads", "timeout", "each")}
    if given.dry_run:
        return _foretold(every, out, given.workers, given.threads)
    place = functools.partial(sweep.cluster, address=given.scheduler) if given.scheduler else sweep.local
    begun = time.perf_counter()
    found = sweep.run(every, out, functools.partial(place, **options), retries=given.retries)
    failed = [r for r in found.values() if r["status"] == "failed"]
    print(f"{len(found) - len(failed)} of {len(every)} points are done, in {out}; {time.perf_counter() - begun:.0f} s")
    for r in failed:
        print(f"{r['id']} failed by the {r['fault']}, {_shown(r['parameters'])}: {r['error']}")
    return bool(failed)


def _shown(parameters):
    return ", ".join(f"{name}={str(value)[:60]}" for name, value in parameters.items())


def _foretold(every, out, workers, threads):
    from viztools import records, sweep

    left = [p for p in every if not records.finished(p)]
    total, most = 0.0, 0.0
    for point, seconds, memory in sweep.estimate(left, out):
        total, most = total + seconds, max(most, memory)
        print(f"{point['id']}  about {seconds:5.0f} s, {memory:.1f} GiB  {_shown(point['parameters'])}")
    workers, threads, _ = sweep.shares(max(1, len(left)), workers=workers, threads=threads)
    print(f"{len(left)} of {len(every)} points are left: about {total / 60 / workers:.0f} minutes by {workers} workers "
          f"of {threads} threads, each with up to {most:.1f} GiB")  # fmt: skip


def gallery(given):
    """Write a sweep's page."""
    from viztools import gallery

    print(f"wrote {gallery.write(given.folder, rows=given.rows, columns=given.columns)}")


def table(given):
    """Write a sweep's table."""
    from viztools import gallery

    print(f"wrote {gallery.write_table(given.folder, given.out)}")


def exercises(given):
    """Write the students' notebooks from the solved ones; print their paths."""
    from viztools.exercises import generate

    print(*generate(given.solutions, given.out), sep="\n")


def _arguments():
    """The parser: every sub-command with its options."""
    parser = argparse.ArgumentParser(prog="python -m vizlib", description="Visualizing CNNs")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run, text):
        made = commands.add_parser(run.__name__, help=text, description=run.__doc__)
        made.set_defaults(run=run)
        return made.add_argument

    command(doctor, "what works on this machine, a line each")
    add = command(finetune, "train on photographs, one sub-folder a class")
    add("folder", help="or tfds:NAME")
    add("--out", type=_name, required=True, help="path of the two files to write, without suffix")
    add("--network", default="mobilenet_v2_cats_vs_dogs", help="name or path")
    add("--frozen-below", default="block5a_expand", help="first layer that is trained, or its index")
    add("--epochs", nargs=2, default=(3, 12), metavar=("HEAD", "ALL"), help="at most")
    add("--size", type=_count, help="px, by default the network's own")
    add("--seed", type=int, default=0)
    add = command(run, "execute one notebook with parameters")
    add("notebook")
    add("-p", action="append", default=[], metavar="NAME=VALUE", help="a parameter, as often as needed")
    add("--out", type=_name, help="folder for results, by default one under runs/")
    add("--timeout", type=_seconds, default=3600.0, help="seconds at most")
    add = command(sweep, "execute a notebook with many parameters")
    add("file", help="YAML: notebook, and parameters, grid, zip or list")
    add("--out", type=_name, help="folder for results, by default runs/ and the file's name")
    add("--workers", type=_count, help="notebooks at once here, by default as cores and memory allow")
    add("--threads", type=_count, help="a worker, by default its share of the cores")
    add("--timeout", type=_seconds, default=3600.0, help="seconds a point may take")
    add("--retries", type=_whole, default=2, help="for a point that failed by the machine's fault")
    add("--points-per-kernel", dest="each", type=_count, default=50, help="1 = a fresh kernel for every point")
    add("--scheduler", metavar="ADDRESS", help="of a Dask cluster, tcp://host:8786")
    add("--dry-run", action="store_true", help="list the points that are left, and what they may take")
    add = command(gallery, "one page of a sweep: pictures, numbers, plots")
    add("folder", type=_name)
    add("--rows", type=_name, help="a parameter, by default the first that varies")
    add("--columns", type=_name, help="another, by default the second that varies")
    add = command(table, "the numbers of a sweep as CSV or Parquet")
    add("folder", type=_name)
    add("--out", type=_name, help="a .csv or .parquet file, by default table.csv in the folder")
    add = command(exercises, "write the students' notebooks from the solved ones")
    add("--solutions", type=_name, default="notebooks/solutions", help="folder of the solved notebooks")
    add("--out", type=_name, default="notebooks/exercises", help="folder to write to")
    return parser


def _checked(check, **limits):
    def read(text):
        try:
            return check("it", text, **limits)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error).partition("; try ")[0]) from None

    return read


def _name(text):
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; leave the option out, or give a name")
    return os.path.expanduser(text)  # a shell leaves the ~ of --out=~/x as it is


_count, _seconds = _checked(positive_integer), _checked(number, low=1, high=1e7)
_whole = _checked(lambda name, text: numbers(name, text, most=1)[0])


def main(arguments=None):
    """Run one sub-command; gives its exit status."""
    options = _arguments().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    except ImportError as error:
        print(f"vizlib: {error}; pip install -e '.[sweep]' in the project's folder brings it.", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"vizlib: {error}", file=sys.stderr)
        return 2
