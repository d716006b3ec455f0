"""Fine-tuning: a pretrained body under a new head, trained on a folder of photographs.

    network = networks.load("efficientnet_lite0")
    data = training.dataset("photographs", size=160)          # photographs/cats/*.jpg, photographs/dogs/*.jpg
    tuned, history = training.finetune(network, data)
    report = training.evaluate(tuned, *data.validation[:2])

The classes are the sub-folders' names, sorted; of two, the head has one logit (first −, second +).
"""

import dataclasses
import hashlib
import itertools
import json
import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import safetensors
import tensorflow as tf
from safetensors.numpy import save as serialise
from tqdm.auto import tqdm

from vizlib import graphs, images, networks
from vizlib.errors import InputError, positive_integer, unknown

HEAD = "predictions"
MOBILENET = {"architecture": "mobilenet_v2_cats_vs_dogs", "classes": '["cat", "dog"]', "size": "160"}
ROUNDING = 1e-2  # how much float16 may change the logits, relative


class Photographs(NamedTuple):
    """images: uint8 (n, size, size, 3); labels: (n,) indices of classes; names: n paths inside the folder."""

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]


class Dataset(NamedTuple):
    """Photographs split in two; skipped: name → why it was left out (unreadable, or the same picture as another)."""

    train: Photographs
    validation: Photographs
    classes: tuple[str, ...]
    skipped: dict[str, str]


class Report(NamedTuple):
    """accuracy: 0–1; confusion: (n, n) counts, rows the truth, columns what the network says; mistakes: (index of
    the image, class said, its probability), the most confident first; logits: float32 (n, logits)."""

    accuracy: float
    confusion: np.ndarray
    mistakes: list[tuple[int, str, float]]
    logits: np.ndarray


def dataset(source, *, size, validation=0.2, seed=0, limit=None):
    """A Dataset from a folder with one sub-folder a class, or from TensorFlow Datasets ("tfds:cats_vs_dogs").

    size: px, the centre square is taken; validation: share of each class held out, drawn from `seed`; limit: at
    most so many photographs a class. Raises InputError unless two classes have two different pictures each.
    """
    if not 0 < validation < 1:
        raise InputError(f"validation is a share between 0 and 1, not {validation!r}; try validation=0.2.")
    from_tfds = str(source).startswith("tfds:")
    classes, pictures = (_tfds if from_tfds else _folder)(str(source), size)
    kept, skipped = _gate(pictures, limit or np.inf)
    counts = np.bincount([label for _, label, _ in kept], minlength=len(classes))
    if len(classes) < 2 or counts.min() < 2:
        found = ", ".join(f"{c}: {n}" for c, n in zip(classes, counts, strict=True)) or "no sub-folder"
        raise InputError(f"{source} needs two classes or more with two pictures each, but has {found}; put the pictures "
                         "into one sub-folder a class.")  # fmt: skip
    pixels, labels, names = (np.array(column) for column in zip(*kept, strict=True))
    held = _held_out(labels, validation, seed)
    parts = (Photographs(pixels[part], labels[part], tuple(names[part].tolist())) for part in (~held, held))
    return Dataset(*parts, classes, skipped)


def _folder(source, size):
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise InputError(f"{source} is no folder: give one with a sub-folder of pictures a class, or tfds:cats_vs_dogs.")
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    files = [(i, p) for i, c in enumerate(classes) for p in sorted((folder / c).iterdir())]
    files = [(i, p) for i, p in files if p.is_file() and not p.name.startswith(".")]
    return tuple(classes), [(f"{classes[i]}/{p.name}", i, partial(images.load, p, size=size)) for i, p in files]


def _tfds(source, size):
    name = source.removeprefix("tfds:")
    try:
        import tensorflow_datasets as tfds

        examples, info = tfds.load(name, split="train", as_supervised=True, with_info=True)
        classes = tuple(info.features["label"].names)
    except ImportError:
        raise InputError(f"{source} needs a package that is not here: pip install tensorflow-datasets.") from None
    except Exception as error:  # whatever its many builders and downloaders raise
        raise InputError(f"{source} cannot be had ({' '.join(str(error).split())[:80]}); check name and network, or "
                         "give a folder with one sub-folder a class.") from None  # fmt: skip
    numbered = enumerate(tfds.as_numpy(examples))
    return classes, ((f"{name}[{i}]", int(y), partial(images.resize, x / np.float32(255), size)) for i, (x, y) in numbered)


def _gate(pictures, limit):
    kept, skipped, first, counts = [], {}, {}, {}
    for name, label, read in tqdm(pictures, desc="reading", unit=" pictures", leave=False):
        if counts.get(label, 0) >= limit:
            continue
        try:
            pixels = images.to_uint8(read())
        except InputError as error:
            skipped[name] = str(error)
            continue
        original = first.setdefault(hashlib.sha256(pixels).digest(), name)
        if original != name:
            skipped[name] = f"the same picture as {original}"
            continue
        counts[label] = counts.get(label, 0) + 1
        kept.append((pixels, label, name))
    return kept, skipped
