"""The command line, `python -m vizlib`, a function a sub-command, which imports what it needs when it is called."""

import argparse
import dataclasses
import platform
import sys
from pathlib import Path

import psutil
from jupyter_client.kernelspec import KernelSpecManager


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
    """Print a line a check, `ok` or what to do; gives the number of failures."""
    failures = 0
    for check in (_machine, _tensorflow, _networks, _kernel):
        try:
            fine, finding, advice = check()
        except Exception as error:
            fine, finding, advice = False, f"{check.__name__[1:]}: {error}", "see the sentence before"
        failures += not fine
        print(f"ok    {finding}" if fine else f"FAIL  {finding}; {advice}", flush=True)
    return failures


def finetune(given):
    """Train a copy of a network on photographs and write it; print what was read and how good the written one is."""
    from vizlib import networks, runs, training

    network = networks.load(given.network)
    runs.folder(Path(given.out).parent)  # rather fail now than after the training
    data = training.dataset(given.folder, size=given.size or network.size, seed=given.seed)
    train, held = (len(part[1]) for part in data[:2])
    print(f"{train} photographs to train on, {held} held out, {len(data.skipped)} skipped", *data.skipped, sep="\n  ")
    tuned, _ = training.finetune(network, data, frozen_below=given.frozen_below, epochs=given.epochs, seed=given.seed)
    networks.write(dataclasses.replace(tuned, name=Path(given.out).name), given.out)
    accuracy, confusion, _ = training.evaluate(networks.read(given.out), *data.validation[:2])
    print(f"{given.out}.json: {accuracy:.2%} of the {held} held out are right; {data.classes}: {confusion.tolist()}")


def exercises(given):
    """Write the students' notebooks from the solved ones; print their paths."""
    from viztools.exercises import generate

    print(*generate(given.solutions, given.out), sep="\n")


def main(arguments=None):
    """Run one sub-command; gives its exit status."""
    parser = argparse.ArgumentParser(prog="python -m vizlib", description="Visualizing CNNs")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("doctor", help="what works on this machine, a line each").set_defaults(run=doctor)
    tune = commands.add_parser("finetune", help="train on photographs, one sub-folder a class")
    tune.set_defaults(run=finetune)
    tune.add_argument("folder", help="or tfds:NAME")
    tune.add_argument("--out", required=True, help="path of the two files to write, without suffix")
    tune.add_argument("--network", default="mobilenet_v2_cats_vs_dogs", help="name or path")
    tune.add_argument("--frozen-below", default="block5a_expand", help="first layer that is trained, or its index")
    tune.add_argument("--epochs", nargs=2, default=(3, 12), metavar=("HEAD", "ALL"), help="at most")
    tune.add_argument("--size", type=int, help="px, by default the network's own")
    tune.add_argument("--seed", type=int, default=0)
    class_ = commands.add_parser("exercises", help="write the students' notebooks from the solved ones")
    class_.set_defaults(run=exercises)
    class_.add_argument("--solutions", default="notebooks/solutions", help="folder of the solved notebooks")
    class_.add_argument("--out", default="notebooks/exercises", help="folder to write to")
    options = parser.parse_args(arguments)
    try:
        return min(options.run(options) or 0, 1)
    except (ValueError, OSError) as error:
        print(f"vizlib: {error}", file=sys.stderr)
        return 2
