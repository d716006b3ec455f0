"""Fine-tuning: a pretrained body under a new head, trained on photographs in one sub-folder a class."""

import contextlib
import dataclasses
from collections import namedtuple
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split
from tqdm.auto import tqdm

from vizlib import graphs, images, networks
from vizlib.backend import keras, tf
from vizlib.errors import InputError, unknown
from vizlib.parameters import number, numbers, positive_integer

Dataset = namedtuple("Dataset", "train validation classes skipped")
AUGMENTATION = {"RandomFlip": "horizontal", "RandomRotation": 0.03, "RandomZoom": (-0.2, 0.1), "RandomContrast": 0.2,
                "RandomBrightness": 0.1}  # fmt: skip


def dataset(source, *, size, validation=0.2, seed=0, limit=None):
    """Dataset(train, validation, classes, skipped) from a folder with one sub-folder a class, or "tfds:cats_vs_dogs".
    train, validation: (images uint8 (n, size, size, 3), labels (n,), names (n,)); skipped: name → why. validation:
    share held out, by `seed`; limit: files a class (tfds: half of all). InputError unless two classes have two each."""
    share, size = number("validation", validation, low=0.01, high=0.99), int(number("size", size, low=8, high=4096))
    classes, pictures = (_tfds if str(source).startswith("tfds:") else _folder)(str(source), limit)
    kept, skipped = _readable(pictures, size)
    labels = [label for _, label, _ in kept]
    if len(classes) < 2 or min(map(labels.count, range(len(classes)))) < 2:
        found = ", ".join(f"{labels.count(i)} of {c}" for i, c in enumerate(classes)) or "no sub-folder"
        raise InputError(f"{source} has {found}, and needs two different pictures each of two classes at least; put "
                         "them into one sub-folder a class.")  # fmt: skip
    held = int(np.clip(round(share * len(kept)), len(classes), len(kept) - len(classes)))
    split = train_test_split(kept, test_size=held, stratify=labels, random_state=numbers("seed", seed, most=1)[0])
    return Dataset(*(tuple(map(np.array, zip(*part, strict=True))) for part in split), classes, skipped)


def _folder(source, limit):
    folders = sorted(path for path in Path(source).expanduser().glob("[!.]*") if path.is_dir())
    pictures = [(i, path) for i, folder in enumerate(folders) for path in sorted(folder.glob("[!.]*"))[:limit]]
    return tuple(f.name for f in folders), [(f"{path.parent.name}/{path.name}", i, path) for i, path in pictures]


def _tfds(source, limit):
    name, split = source.removeprefix("tfds:"), f"train[:{2 * limit}]" if limit else "train"
    try:
        import tensorflow_datasets as tfds

        options = {"as_supervised": True, "with_info": True, "decoders": {"image": tfds.decode.SkipDecoding()}}
        examples, info = tfds.load(name, split=split, **options)
    except Exception as error:  # whatever its many builders and downloaders raise
        raise InputError(f"{source} cannot be had ({' '.join(str(error).split())[:80]}); check the name, the network "
                         "and pip install tensorflow-datasets, or give a folder of photographs.") from None  # fmt: skip
    files = enumerate(tfds.as_numpy(examples))
    return tuple(info.features["label"].names), ((f"{name}[{i}]", int(y), file) for i, (file, y) in files)


def _readable(pictures, size):
    kept, skipped, seen = [], {}, {}
    for name, label, file in tqdm(pictures, desc="reading", unit=" pictures", leave=False):
        try:
            pixels = images.to_uint8(images.load(file, size=size))
            original = seen.setdefault(hash(pixels.tobytes()), name)
            if original != name:
                raise InputError(f"It is the same picture as {original}.")
            kept.append((pixels, label, name))
        except InputError as error:
            skipped[name] = str(error)
    return kept, skipped


def finetune(network, data, *, frozen_below="block5a_expand", epochs=(3, 12), rates=(3e-3, 1e-4), batch=32, patience=4,
             seed=0, callbacks=(), verbose="auto"):  # fmt: skip
    """A copy of the Network with a head for the data's classes, and its learning curve {"val_loss": [an epoch, …], …}.
    Two stages of at most `epochs` each at `rates` (Adam, cosine decay): the head alone, then all layers from the name
    or index `frozen_below` on. A stage ends `patience` epochs after its lowest validation loss, Ctrl-C ends both; the
    best epoch's weights are kept, and batch norms' statistics."""
    tuned, curve = _headed(network, data.classes, size=data.train[0].shape[1]), keras.callbacks.History()
    names, known = tuned.layers, [*tuned.layers, *map(str, range(len(tuned.layers)))]
    if str(frozen_below) not in known:
        raise unknown("layer", frozen_below, names, hint=f"(or an index below {len(names)})")
    stages = names[-1:], names[known.index(str(frozen_below)) % len(names) :]
    train, held = (tf.data.Dataset.from_tensor_slices(part[:2]) for part in data[:2])
    train, held = train.shuffle(len(train), seed=seed).batch(positive_integer("batch", batch)), held.batch(batch)
    counts, model = [positive_integer("epochs", count) for count in epochs], _augmented(tuned.model, seed)
    with contextlib.suppress(KeyboardInterrupt):
        for stage, count, rate in zip(stages, counts, rates, strict=True):
            for layer in tuned.model.layers:
                layer.trainable = layer.name in stage and not isinstance(layer, keras.layers.BatchNormalization)
            adam = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, count * len(train)))
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(adam, loss, metrics=["accuracy"], jit_compile=False)  # XLA is slow on a CPU
            best = keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)
            start = model.get_weights()
            use = {"callbacks": [curve, best, *callbacks], "verbose": verbose, "shuffle": False}
            model.fit(train, validation_data=held, epochs=count, **use)
    model.set_weights(best.best_weights or start)
    if not np.isfinite(curve.history.get("loss", 0)).all():
        raise InputError(f"Training diverged at rates {rates}: its loss is not finite; try a tenth of them.")
    return tuned, curve.history


def _augmented(model, seed):
    views = [getattr(keras.layers, kind)(setting, seed=seed) for kind, setting in AUGMENTATION.items()]
    # one logit is trained as two, the first of which is 0
    two = [keras.layers.Lambda(lambda z: keras.ops.pad(z, [[0, 0], [1, 0]]))] if model.output_shape[1] == 1 else []
    return keras.Sequential([*views, keras.layers.Rescaling(1 / 255), model, *two])


def _headed(network, classes, *, size):
    if network.model.input_shape[1] not in (None, size):
        raise InputError(f"{network.name} takes {network.model.input_shape[1]} px only, not {size}; give that size.")
    last, layers = network.model.layers[-1], keras.layers
    make = lambda layer: None if layer is last and isinstance(last, layers.Dense) else graphs.copy(layer)
    body, outputs = graphs.rebuild(network.model, make)
    x = body.output if len(body.output.shape) == 2 else layers.GlobalAveragePooling2D(name="average")(body.output)
    head = layers.Dense(1 if len(classes) == 2 else len(classes), kernel_initializer="zeros", name="predictions")(x)
    kept = {name: outputs[name] for name in network.outputs if name in outputs} | {"predictions": head}
    model = keras.Model(body.input, head, name=network.name)
    return dataclasses.replace(network, model=model, outputs=kept, classes=tuple(classes), size=size)


def evaluate(network, pictures, labels):
    """(accuracy, confusion (n, n) with a row a true class, mistakes [(index, class said, its probability), …], surest
    first) on pictures (n, H, W, 3) uint8 of classes `labels` (n,), as `dataset` gives them."""
    model = keras.Sequential([keras.layers.Rescaling(1 / 255), network.classifier()])
    p = networks.probabilities(model.predict(pictures, verbose=0))
    said, classes = p.argmax(1), network.classes
    wrong = sorted(np.flatnonzero(said != labels), key=lambda i: -p[i].max())
    mistakes = [(int(i), classes[said[i]], float(p[i].max())) for i in wrong]
    return float(np.mean(said == labels)), confusion_matrix(labels, said, labels=range(len(classes))), mistakes
