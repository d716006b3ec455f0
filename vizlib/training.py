"""Fine-tuning: a pretrained body under a new head, trained on photographs in one sub-folder a class."""

import dataclasses
import hashlib
import json
from collections import namedtuple
from functools import partial
from pathlib import Path

import keras
import numpy as np
import safetensors.numpy
import tensorflow as tf
from sklearn.model_selection import train_test_split
from tqdm.auto import tqdm

from vizlib import graphs, images, networks
from vizlib.errors import InputError, positive_integer, unknown

HEAD = "predictions"
Dataset = namedtuple("Dataset", "train validation classes skipped")


def dataset(source, *, size, validation=0.2, seed=0, limit=None):
    """Dataset(train, validation, classes, skipped) from a folder with one sub-folder a class, or "tfds:cats_vs_dogs".

    train, validation: (images uint8 (n, size, size, 3), labels (n,), names (n,)); skipped: name → why (unreadable, or
    the same as another). validation: share held out, drawn from `seed`; size: px, of the centre square; limit: at most
    so many files a class. Raises InputError unless two classes have two pictures each.
    """
    if not 0 < validation < 1:
        raise InputError(f"validation is a share between 0 and 1, not {validation!r}; try validation=0.2.")
    classes, pictures = (_tfds if str(source).startswith("tfds:") else _folder)(str(source), size, limit)
    kept, skipped = _gate(pictures)
    counts = [sum(label == i for _, label, _ in kept) for i in range(len(classes))]
    if len(classes) < 2 or min(counts) < 2:
        found = ", ".join(f"{c} with {n}" for c, n in zip(classes, counts, strict=True)) or "no sub-folder"
        raise InputError(f"{source} needs two or more classes of two or more different pictures, and has {found}; put "
                         "the pictures into one sub-folder a class.")  # fmt: skip
    columns = [np.array(column) for column in zip(*kept, strict=True)]
    held = np.clip(round(validation * len(kept)), len(classes), len(kept) - len(classes))
    split = train_test_split(*columns, test_size=int(held), stratify=columns[1], random_state=seed)
    return Dataset(tuple(split[::2]), tuple(split[1::2]), classes, skipped)


def _folder(source, size, limit):
    files = [p for p in sorted(Path(source).expanduser().glob("[!.]*/[!.]*")) if p.is_file()]
    classes = tuple(sorted({p.parent.name for p in files}))
    chosen = [(i, p) for i, c in enumerate(classes) for p in [p for p in files if p.parent.name == c][:limit]]
    return classes, [(f"{classes[i]}/{p.name}", i, partial(images.load, p, size=size)) for i, p in chosen]


def _tfds(source, size, limit):
    name, split = source.removeprefix("tfds:"), f"train[:{2 * limit}]" if limit else "train"
    try:
        import tensorflow_datasets as tfds

        examples, info = tfds.load(name, split=split, as_supervised=True, with_info=True)
        classes = tuple(info.features["label"].names)
    except Exception as error:  # whatever its many builders and downloaders raise
        cause, advice = " ".join(str(error).split())[:80], "pip install tensorflow-datasets, check name and network"
        raise InputError(f"{source} cannot be had ({cause}); {advice}, or give a folder of photographs.") from None
    numbered = enumerate(tfds.as_numpy(examples))
    resize = partial(images.resize, size=size)
    pictures = ((f"{name}[{i}]", int(y), partial(resize, x / np.float32(255))) for i, (x, y) in numbered)
    return classes, pictures


def _gate(pictures):
    kept, skipped, seen = [], {}, {}
    for name, label, read in tqdm(pictures, desc="reading", unit=" pictures", leave=False):
        try:
            pixels = images.to_uint8(read())
        except InputError as error:
            skipped[name] = str(error)
            continue
        original = seen.setdefault(hashlib.sha256(pixels).digest(), name)
        if original == name:
            kept.append((pixels, label, name))
        else:
            skipped[name] = f"It is the same picture as {original}."
    return kept, skipped


def finetune(network, data, *, frozen_below="block6a_expand", epochs=(3, 12), rates=(3e-3, 1e-4), batch=32, patience=4,
             seed=0, callbacks=(), verbose="auto"):  # fmt: skip
    """A copy of the Network with a head for the data's classes, and its learning curve {"val_loss": [an epoch, …], …}.

    Two stages of at most `epochs` each at `rates` (Adam, cosine decay): the head alone, then all layers from
    `frozen_below` (a name, or an index in network.layers) on. A stage ends after `patience` epochs without a lower
    validation loss, or on Ctrl-C, at its best epoch. Batch norms keep their statistics. Same seed, same weights.
    """
    tuned = _headed(network, data.classes, size=data.train[0].shape[1], seed=seed)
    train, held = (tf.data.Dataset.from_tensor_slices(part[:2]) for part in data[:2])
    train, held = train.shuffle(len(train), seed=seed).batch(positive_integer("batch", batch)), held.batch(batch)
    model, history = keras.Sequential([*_augmentation(seed), tuned.model]), {}
    trained = [_layers_from(tuned, first) for first in (HEAD, frozen_below)]
    for names, count, rate in zip(trained, epochs, rates, strict=True):
        for layer in tuned.model.layers:
            layer.trainable = layer.name in names and not isinstance(layer, keras.layers.BatchNormalization)
        _compile(model, keras.optimizers.schedules.CosineDecay(rate, positive_integer("epochs", count) * len(train)))
        stopper = keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)
        use = [stopper, keras.callbacks.TerminateOnNaN(), *callbacks]
        try:
            model.fit(train, validation_data=held, epochs=count, callbacks=use, verbose=verbose, shuffle=False)
        except KeyboardInterrupt:
            model.set_weights(stopper.best_weights or model.get_weights())
        history |= {name: history.get(name, []) + values for name, values in model.history.history.items()}
        if not np.isfinite(history.get("loss", 0)).all():
            raise InputError(f"Training diverged at rate {rate}: its loss is not finite; try a tenth of that rate.")
    return tuned, history


def _augmentation(seed):
    layers, unit = keras.layers, {"value_range": (0, 1), "seed": seed}
    shape = layers.RandomFlip("horizontal", seed=seed), layers.RandomRotation(0.03, seed=seed)
    light = layers.RandomContrast(0.2, **unit), layers.RandomBrightness(0.1, **unit)
    return layers.Rescaling(1 / 255), *shape, layers.RandomZoom((-0.2, 0.1), seed=seed), *light


def _compile(model, rate):
    kind = "Binary" if model.layers[-1].output.shape[-1] == 1 else "SparseCategorical"
    right = keras.metrics.BinaryAccuracy("accuracy", threshold=0) if kind == "Binary" else "accuracy"
    loss = getattr(keras.losses, f"{kind}Crossentropy")(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=[right])


def _headed(network, classes, *, size, seed=0):
    last, layers = network.model.layers[-1], keras.layers
    copy = lambda layer: graphs.copy(layer) if getattr(layer, "weights", None) else layer
    drop = last if isinstance(last, layers.Dense) else None
    body, outputs = graphs.rebuild(network.model, lambda layer: None if layer is drop else copy(layer))
    x, count = body.output, 1 if len(classes) == 2 else len(classes)
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D(name="average")(x)
    head = layers.Dense(count, kernel_initializer=keras.initializers.GlorotUniform(seed), name=HEAD)(x)
    kept = {name: outputs[name] for name in network.outputs if name in outputs} | {HEAD: head}
    model = keras.Model(body.input, head, name=network.name)
    return dataclasses.replace(network, model=model, outputs=kept, classes=tuple(classes), size=size)


def _layers_from(network, first):
    names = network.layers
    index = names.index(first) if first in names else int(first) if str(first).isdigit() else len(names)
    if index >= len(names):
        raise unknown("layer", first, names, hint=f"(or an index below {len(names)})")
    return names[index:]


def _logits(network, pictures):
    batches = tf.data.Dataset.from_tensor_slices(pictures).batch(32)
    unit = batches.map(partial(tf.image.convert_image_dtype, dtype="float32"))
    return network.classifier().predict(unit, verbose=0).astype(float)


def evaluate(network, pictures, labels):
    """(accuracy, confusion, mistakes) on pictures (n, H, W, 3), uint8 or float32 in [0, 1], of classes `labels` (n,).

    confusion: (n, n) counts, a row per true class; mistakes: [(index, class said, its probability), …], surest first.
    """
    logits = _logits(network, pictures)
    p = np.asarray(keras.ops.softmax(logits if logits.shape[1] > 1 else np.hstack([0 * logits, logits])))
    said = p.argmax(1)
    confusion = tf.math.confusion_matrix(labels, said, len(network.classes)).numpy()
    wrong = sorted(np.flatnonzero(said != labels), key=lambda i: -p[i].max())
    mistakes = [(int(i), network.classes[said[i]], float(p[i].max())) for i in wrong]
    return float(np.mean(said == labels)), confusion, mistakes


def save(network, path, *, probe):
    """Write a network made from a named one as float16 .safetensors; gives the relative change of `probe`'s logits.

    probe: pictures as in `evaluate`; where float16 changes their logits by more than 1e-2, float32 is written.
    """
    about = {"architecture": network.name, "classes": json.dumps(network.classes), "size": str(network.size)}
    weights, exact, draft = _variables(network), _logits(network, probe), Path(path).with_suffix(".part")
    for dtype in (np.float16, np.float32):
        rounded = {name: np.asarray(variable, dtype) for name, variable in weights.items()}
        draft.write_bytes(safetensors.numpy.save(rounded, about))
        change = float(np.linalg.norm(_logits(load(draft), probe) - exact) / np.linalg.norm(exact))
        if change <= 1e-2:
            break
    draft.replace(path)
    return change


def load(path):
    """The Network that `save` wrote, or the MobileNetV2 base of data/convert_weights.py (its head meaningless)."""
    try:
        with safetensors.safe_open(path, "numpy") as file:
            weights, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
        base = networks.load(about.get("architecture", "mobilenet_v2_cats_vs_dogs"))
        classes = json.loads(about["classes"]) if "classes" in about else base.classes
        network = _headed(base, classes, size=int(about.get("size", base.size)))
        for name, variable in _variables(network).items():
            variable.assign(weights[name] if about or not name.startswith(HEAD) else variable)
    except (OSError, safetensors.SafetensorError, ValueError, KeyError) as error:
        cause = " ".join(str(error).split())[:80]
        raise InputError(f"{path} holds no fine-tuned network ({cause}); give a file that `save` wrote.") from None
    return network


def _variables(network):
    layers = [layer for layer in network.model.layers if layer.name != "preprocess"]
    return {f"{layer.name}/{w.name}": w for layer in layers for w in layer.weights}
