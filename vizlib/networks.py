"""Pretrained networks behind one seam: images in [0, 1] in, features or logits out.

    code = networks.load("vgg16").features("block4_conv2")(image[None])     # (1, H', W', C)

Preprocessing is the first layer of every network's graph: nothing outside this module knows about 0–255 or BGR."""

import functools
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.numpy
from scipy.special import softmax

from vizlib import files, graphs, images
from vizlib.backend import keras
from vizlib.errors import InputError, unknown

# what each family does to a 0–255 RGB image: (scale, mean in RGB order, whether channels are reversed afterwards)
PREPROCESSING = {
    "0-1": (1 / 255, (0.0, 0.0, 0.0), False),
    "0-255": (1.0, (0.0, 0.0, 0.0), False),
    "tf": (1 / 127.5, (127.5, 127.5, 127.5), False),  # keras.applications, mode "tf"
    "lite": (1 / 128, (127.0, 127.0, 127.0), False),  # EfficientNet-Lite
    "caffe": (1.0, (123.68, 116.779, 103.939), True),  # VGG's own: BGR, minus the ImageNet mean colour
    "torch": ((1 / 58.395, 1 / 57.12, 1 / 57.375), (123.675, 116.28, 103.53), False)}  # fmt: skip
ABOUT = ("name", "size", "mean", "classes", "main")


@dataclass(frozen=True, eq=False)
class Network:
    """A network ready to be looked into: its model, (B, H, W, 3) float32 in [0, 1] → (B, n) logits, or features.
    size: its square input, px; mean: the RGB colour in [0, 1] that preprocessing maps to zero; outputs: layer name →
    symbolic tensor; classes: one name a logit, or (negative, positive) for one; main: the layers worth showing."""

    name: str
    model: keras.Model
    size: int
    mean: tuple[float, float, float]
    outputs: dict = field(repr=False)
    classes: tuple[str, ...] = field(default=(), repr=False)
    main: tuple[str, ...] = field(default=(), repr=False)
    layers = property(lambda self: tuple(self.outputs), doc="Names of all layers that can be cut at, in order.")

    def features(self, layer, *, precision="float32", soft=None):
        """The network cut at `layer`: keras.Model, (B, H, W, 3) in [0, 1] → its output; cached, not to be saved.
        precision: "float32", or "bfloat16" behind the preprocessing; soft: (leak, spread) of `graphs.soften`, None for
        true gradients. InputError for an unknown layer, naming near ones."""
        if layer not in self.outputs:
            raise unknown("layer", layer, dict.fromkeys(self.main + self.layers), hint=f"({self.name})")
        return _cut(self, layer, precision, soft)

    def classifier(self, *, precision="float32"):
        """The whole network as keras.Model, images → logits; InputError where it has no classes."""
        if not self.classes:
            raise InputError(f"{self.name} has no classifier here; use efficientnet_lite0 for class scores.")
        return _cut(self, None, precision, None)

    def logits(self, image):
        """Unnormalised class scores of one image (H, W, 3) in [0, 1]: float32 (n,)."""
        return np.asarray(self.classifier()(images.check(image)[None], training=False))[0]

    def top(self, image, *, k=5):
        """The k most probable classes of an image as (name, probability), best first."""
        p = probabilities(self.logits(image))
        return [(self.classes[i], float(p[i])) for i in np.argsort(-p)[:k]]

    def class_index(self, name):
        """Index of a class given by index, by full name or by a part of a name that fits one class only."""
        self.classifier()
        if isinstance(name, int | np.integer) or str(name).isdecimal():
            if not 0 <= int(name) < len(self.classes):
                raise InputError(f"Class {name} does not exist in {self.name}: give 0 to {len(self.classes) - 1}.")
            return int(name)
        wanted, names = str(name).replace("_", " ").lower(), [c.lower() for c in self.classes]
        fits = [i for i, known in enumerate(names) if wanted in known]
        same = [i for i in fits if names[i] == wanted]
        if len(same) == 1 or len(fits) == 1:
            return (same if len(same) == 1 else fits)[0]
        if not fits:
            raise unknown("class", wanted, self.classes)
        listed = ", ".join(f"{self.classes[i]} ({i})" for i in fits[:12]) + (", …" if len(fits) > 12 else "")
        raise InputError(f"Class {wanted!r} fits {len(fits)} classes: {listed}; give the full name or the index.")

    def direction(self, name):
        """The vector d (n,) whose product with the logits is the class's score; ±1 for a head with one logit."""
        index, n = self.class_index(name), self.model.output.shape[-1]
        return np.float32([2 * index - 1]) if n == 1 else np.eye(n, dtype=np.float32)[index]

    def stride(self, layer):
        """Input pixels per step of a layer's grid, at the network's own size."""
        shape = self.features(layer).compute_output_shape((1, self.size, self.size, 3))
        return self.size / shape[1] if len(shape) == 4 else float(self.size)


def probabilities(logits):
    """Softmax of logits (…, n), or of 0 and the one logit (…, 1): float64 (…, n or 2)."""
    logits = np.asarray(logits, float)
    return softmax(np.concatenate([0 * logits, logits], axis=-1) if logits.shape[-1] == 1 else logits, axis=-1)


@functools.lru_cache(maxsize=64)
def _cut(network, layer, precision, soft):
    if precision not in ("float32", "bfloat16"):
        raise unknown("precision", precision, ("float32", "bfloat16"))
    full, name = network.model, f"{network.name}_to_{layer}"
    model = full if layer is None else keras.Model(full.input, network.outputs[layer], name=name)
    model = graphs.fold(model) if precision == "float32" else graphs.rebuild(model, graphs.in_bfloat16)[0]
    return graphs.rebuild(model, lambda y: graphs.soften(y, leak=soft[0], spread=soft[1]))[0] if soft else model


@functools.cache
def bfloat16_computes():
    """Whether this processor multiplies bfloat16 in hardware (AVX-512 BF16, AMX or Arm BF16), as Linux tells."""
    flags = cpuinfo.read_text() if (cpuinfo := Path("/proc/cpuinfo")).is_file() else ""
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def fast_precision(network):
    """ "bfloat16" where it is the faster choice: dense convolutions on a processor that computes in it."""
    depthwise = any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in network.model.layers)
    return "bfloat16" if bfloat16_computes() and not depthwise else "float32"


def wrap(model, *, preprocessing, name=None, classes=(), main=(), size=None):
    """A Network from any functional or sequential Keras model, nested ones included.
    preprocessing: what the model expects, a key of PREPROCESSING, or (scale, mean RGB, reversed?) on 0–255 RGB;
    classes: one name a logit, (negative, positive) for one; size: its input in px where the model leaves it open
    (default 224). A softmax or sigmoid at the end is taken off, with a warning, or an InputError where it cannot."""
    if preprocessing not in PREPROCESSING and not isinstance(preprocessing, tuple):
        raise unknown("preprocessing", preprocessing, PREPROCESSING)
    graphs.check(model)
    scale, mean, reverse = PREPROCESSING.get(preprocessing, preprocessing)
    before = functools.partial(graphs.preprocess, scale=scale, mean=mean, reverse=reverse)
    full, outputs = graphs.rebuild(model, graphs.without_softmax(model), before=before)
    side = [s or 64 for s in full.input_shape[1:3]]
    out = np.asarray(full(np.random.default_rng(0).random((2, *side, 3), np.float32), training=False))
    if out.ndim == 2 and out.shape[1] > 1 and (out >= 0).all() and np.allclose(out.sum(1), 1, atol=1e-3):
        raise InputError(f"{model.name} gives probabilities and its logits cannot be recovered; hand in the model "
                         "without its softmax.")  # fmt: skip
    if len(full.output.shape) == 2:
        classes = classes or tuple(f"class {i}" for i in range(max(full.output.shape[-1], 2)))
    about = {"size": size or model.inputs[0].shape[1] or 224, "mean": [float(m) / 255 for m in mean]}
    return _network(full, outputs, **about, name=name or model.name, classes=classes, main=main)


def _network(model, outputs, *, name, size, mean, classes, main):
    kept = {n: t for n, t in outputs.items() if len(getattr(t, "shape", ())) in (2, 4)}
    main = tuple(main) or tuple(n for n, t in kept.items() if len(t.shape) == 4)
    return Network(name, model, size, tuple(mean), kept, tuple(classes), main)


def write(network, path, *, precision="float16"):
    """Write a network as `path`.safetensors, its weights in this precision, and `path`.json, all else about it."""
    weights = {f"{layer.name}/{w.name}": np.asarray(w) for layer in network.model.layers for w in layer.weights}
    exact = {part: weights.pop(f"preprocess/{part}").ravel().tolist() for part in ("kernel", "bias")}
    content = safetensors.numpy.save({k: np.ascontiguousarray(v, precision) for k, v in sorted(weights.items())})
    about = {key: getattr(network, key) for key in ABOUT} | {"preprocess": exact}
    about |= {"sha256": hashlib.sha256(content).hexdigest(), "model": json.loads(network.model.to_json())}
    files.write(f"{path}.safetensors", content)
    files.write(f"{path}.json", (json.dumps(about) + "\n").encode())


def read(path):
    """The Network that `write` left at a path, with or without a suffix; InputError where it is missing or altered."""
    path = Path(str(path).removesuffix(".safetensors").removesuffix(".json")).expanduser()
    try:
        about = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
        content = Path(f"{path}.safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != about["sha256"]:
            raise ValueError("the weights are altered: their SHA-256 is not the recorded one")
        weights = safetensors.numpy.load(content)
        weights |= {f"preprocess/{part}": np.float32(numbers) for part, numbers in about["preprocess"].items()}
        model = keras.saving.deserialize_keras_object(about["model"], safe_mode=True)
        for layer in model.layers:
            layer.set_weights([weights[f"{layer.name}/{w.name}"].reshape(w.shape) for w in layer.weights])
        outputs = {layer.name: layer.output for layer in model.layers[1:] if layer.name != "preprocess"}
        return _network(model, outputs, **{key: about[key] for key in ABOUT})
    except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0][:80]
        raise InputError(f"The network {path.name} cannot be read ({why}); it needs {path.name}.json and {path.name}"
                         ".safetensors side by side, as they were written: restore both.") from None  # fmt: skip


@functools.cache
def imagenet_classes():
    """The 1000 ImageNet class names, in index order."""
    return tuple(json.loads(files.data_path("imagenet_classes.json").read_text(encoding="utf-8")))


def embedded():
    """Names of the networks that are shipped, sorted."""
    return tuple(sorted(path.stem for path in files.data_path("weights").glob("*.json")))


# keras.applications by name: (function's name, preprocessing); their weights are downloaded by Keras at first use
DOWNLOADED = {
    "vgg16_with_top": ("VGG16", "caffe"), "vgg19": ("VGG19", "caffe"), "resnet50": ("ResNet50", "caffe"),
    "resnet50_v2": ("ResNet50V2", "tf"), "inception_v3": ("InceptionV3", "tf"), "xception": ("Xception", "tf"),
    "mobilenet": ("MobileNet", "tf"), "mobilenet_v2": ("MobileNetV2", "tf"), "densenet121": ("DenseNet121", "torch"),
    "efficientnet_b0": ("EfficientNetB0", "0-255")}  # fmt: skip


@functools.lru_cache(maxsize=4)
def load(name):
    """A Network by name: shipped, or from keras.applications (downloaded once by Keras); or the path of a written one.
    InputError for an unknown name, altered weights, or weights that cannot be downloaded."""
    if name in embedded():
        return read(files.data_path("weights", name))
    if Path(name).suffix in (".json", ".safetensors"):
        return read(name)
    if name not in DOWNLOADED:
        raise unknown("network", name, (*embedded(), *DOWNLOADED), hint="(or give the path of a written network)")
    function, preprocessing = DOWNLOADED[name]
    try:
        model = getattr(keras.applications, function)(weights="imagenet", classifier_activation=None)
    except Exception as error:  # Keras raises bare Exception for a failed download
        here, why = " or ".join(embedded()), str(error).strip().partition("\n")[0][:80]
        raise InputError(f"{name} needs weights that Keras downloads at first use, and that failed ({why}); connect to "
                         f"a network once, or use {here}, which are here.") from None  # fmt: skip
    return wrap(model, preprocessing=preprocessing, name=name, classes=imagenet_classes())
