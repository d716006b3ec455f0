"""Pretrained networks behind one seam: images in [0, 1] in, features or logits out.

    network = networks.load("vgg16")
    code = network.features("block4_conv2")(image[None])     # (1, H', W', C)

Preprocessing (scale, channel order, mean) is the first layer of every network's graph, so nothing outside this
module knows about 0–255, BGR or batches of one.
"""

import functools
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load as parse_safetensors

from vizlib import architectures, graphs, images
from vizlib.backend import keras
from vizlib.errors import InputError, unknown

# SHA-256 of the embedded weights; data/README.md tells where each file comes from
SHA256 = {
    "vgg16": "195e81c83ba82852cbdc471db04a6e7a7f45b42d32b80fb2d35a4a83a1cf3168",
    "efficientnet_lite0": "e1e3be14dd3df95fb61c606804c2b0ae302ff531e242e6f739b105459ebe0aa1",
}
# what each family does to a 0–255 RGB image: (scale, mean in RGB order, whether channels are reversed afterwards)
PREPROCESSING = {
    "0-1": (1 / 255, (0.0, 0.0, 0.0), False),
    "0-255": (1.0, (0.0, 0.0, 0.0), False),
    "tf": (1 / 127.5, (127.5, 127.5, 127.5), False),  # keras.applications, mode "tf"
    "lite": (1 / 128, (127.0, 127.0, 127.0), False),  # EfficientNet-Lite
    "caffe": (1.0, (123.68, 116.779, 103.939), True),  # VGG's own: BGR, minus the ImageNet mean colour
    "torch": ((1 / 58.395, 1 / 57.12, 1 / 57.375), (123.675, 116.28, 103.53), False),
}


@dataclass(frozen=True, eq=False)
class Network:
    """A network ready to be looked into.

    model: keras.Model, (B, H, W, 3) float32 in [0, 1] → (B, n) logits, or features where it has no classifier;
    size: the square input it was trained at, px; classes: one name a logit, or (negative, positive) for one logit;
    mean: the RGB colour in [0, 1] that preprocessing maps to zero; outputs: layer name → symbolic tensor;
    main: the layers worth showing, in order.
    """

    name: str
    model: keras.Model
    size: int
    mean: tuple[float, float, float]
    outputs: dict = field(repr=False)
    classes: tuple[str, ...] = field(default=(), repr=False)
    main: tuple[str, ...] = field(default=(), repr=False)

    @property
    def layers(self):
        """Names of all layers that can be cut at, in order."""
        return tuple(self.outputs)

    def features(self, layer, *, precision="float32"):
        """The network cut at `layer`: keras.Model, (B, H, W, 3) in [0, 1] → that layer's output.

        precision: "float32", or "bfloat16" for the computation behind the (float32) preprocessing.
        Cut models are cached. Raises InputError for an unknown layer, naming near ones.
        """
        if layer not in self.outputs:
            raise unknown("layer", layer, dict.fromkeys(self.main + self.layers), hint=f"({self.name})")
        return _cut(self, layer, precision)

    def classifier(self, *, precision="float32"):
        """The whole network as keras.Model, images → logits; InputError where it has no classes."""
        if not self.classes:
            raise InputError(f"{self.name} has no classifier here; use efficientnet_lite0 for class scores.")
        return _cut(self, None, precision)

    def logits(self, image):
        """Unnormalised class scores of one image (H, W, 3) in [0, 1]: float32 (n,)."""
        batch = images.check(image)[None]
        return np.asarray(self.classifier()(batch, training=False))[0]

    def top(self, image, *, k=5):
        """The k most probable classes of an image as (name, probability), best first."""
        logits = self.logits(image).astype(float)
        if len(logits) == 1:
            logits = np.array([0.0, logits[0]])
        p = np.exp(logits - logits.max())
        p /= p.sum()
        return [(self.classes[i], float(p[i])) for i in np.argsort(-p)[:k]]

    def class_index(self, name):
        """Index of a class given by index, by full name or by a part of a name that fits one class only."""
        if not self.classes:
            self.classifier()
        if isinstance(name, int | np.integer) or str(name).isdecimal():
            if not 0 <= int(name) < len(self.classes):
                raise InputError(f"Class {name} does not exist in {self.name}: give 0 to {len(self.classes) - 1}.")
            return int(name)
        return _find_class(str(name).replace("_", " ").lower(), [c.lower() for c in self.classes], self.classes)

    def direction(self, name):
        """The vector d (n,) whose product with the logits is the class's score; ±1 for a head with one logit."""
        index, n = self.class_index(name), self.model.output.shape[-1]
        return np.float32([2 * index - 1]) if n == 1 else np.eye(n, dtype=np.float32)[index]

    def stride(self, layer):
        """Input pixels per step of a layer's grid: input size over output size, at the network's own size."""
        shape = self.features(layer).compute_output_shape((1, self.size, self.size, 3))
        return self.size / shape[1] if len(shape) == 4 else float(self.size)

    def depth(self, layer):
        """Where a layer lies, 0 (input) to 1 (output), by its place among the main layers."""
        names = self.main if layer in self.main else self.layers
        self.features(layer)
        return (names.index(layer) + 1) / len(names)


def _find_class(wanted, names, shown):
    if names.count(wanted) == 1:
        return names.index(wanted)
    fits = [i for i, name in enumerate(names) if wanted == name or wanted in name]
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise unknown("class", wanted, shown)
    listed = ", ".join(f"{shown[i]} ({i})" for i in fits[:12]) + (", …" if len(fits) > 12 else "")
    raise InputError(f"Class {wanted!r} fits {len(fits)} classes: {listed}; give the full name or the index.")


@functools.lru_cache(maxsize=64)
def _cut(network, layer, precision):
    model = network.model
    if layer is not None:
        model = keras.Model(model.input, network.outputs[layer], name=f"{network.name}_to_{layer}")
    if precision == "float32":
        return model
    if precision != "bfloat16":
        raise unknown("precision", precision, ("float32", "bfloat16"))
    return graphs.rebuild(model, graphs.in_bfloat16)[0]


@functools.cache
def bfloat16_computes():
    """Whether this processor multiplies bfloat16 in hardware (AVX-512 BF16, AMX or Arm BF16), as Linux tells."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def fast_precision(network):
    """ "bfloat16" where it is the faster choice: dense convolutions on a processor that computes in it."""
    depthwise = any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in network.model.layers)
    return "bfloat16" if bfloat16_computes() and not depthwise else "float32"


def wrap(model, *, preprocessing, name=None, classes=(), main=(), size=None):
    """A Network from any functional or sequential Keras model, nested ones included.

    preprocessing: what the model expects, a key of PREPROCESSING, or (scale, mean RGB, reversed?) on 0–255 RGB.
    classes: one name a logit, (negative, positive) for one logit, () for "class 0", "class 1", …
    size: its input in px where the model leaves it open (default 224).
    A softmax or sigmoid at the end is taken off, with a warning; InputError where that cannot be done.
    """
    if preprocessing not in PREPROCESSING and not isinstance(preprocessing, tuple):
        raise unknown("preprocessing", preprocessing, PREPROCESSING)
    graphs.check(model)
    scale, mean, reverse = (
        PREPROCESSING.get(preprocessing, preprocessing) if isinstance(preprocessing, str) else preprocessing
    )
    before = functools.partial(graphs.preprocess, scale=scale, mean=mean, reverse=reverse)
    full, outputs = graphs.rebuild(model, graphs.without_softmax(model), before=before)
    graphs.refuse_probabilities(full)
    if len(full.output.shape) == 2 and not classes:
        n = full.output.shape[-1]
        classes = tuple(f"class {i}" for i in range(max(n, 2)))
    side = size or model.inputs[0].shape[1] or 224
    mean = tuple(float(m) / 255 for m in mean)
    kept = {n: t for n, t in outputs.items() if len(getattr(t, "shape", ())) in (2, 4)}
    spatial = tuple(n for n, t in kept.items() if len(t.shape) == 4)
    return Network(name or model.name, full, side, mean, kept, tuple(classes), tuple(main) or spatial)


def read_weights(name):
    """An embedded weight file as {"layer/kernel": array, …}; InputError where it is missing or altered."""
    path = images.data_path("weights", f"{name}.safetensors")
    if not path.is_file():
        raise InputError(f"The weights {path.name} are missing from {path.parent.name}/; restore them from the "
                         "repository or with data/convert_weights.py.")  # fmt: skip
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise InputError(f"The weights {path.name} are damaged or altered (their SHA-256 is not the recorded one); "
                         "restore the file from the repository.")  # fmt: skip
    return parse_safetensors(content)


def fill(model, weights):
    """Put {"layer/kernel": …, "layer/bias": …} into a model's layers of these names; gives the model."""
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([weights[f"{layer.name}/kernel"], weights[f"{layer.name}/bias"]])
    return model


@functools.cache
def imagenet_classes():
    """The 1000 ImageNet class names, in index order."""
    return tuple(json.loads(images.data_path("imagenet_classes.json").read_text(encoding="utf-8")))


def _vgg16():
    body = fill(architectures.vgg16_body(), read_weights("vgg16"))
    return wrap(body, preprocessing="caffe", name="vgg16", size=224)


def efficientnet_lite(name, weights, *, depth=1.0, size=224):
    """EfficientNet-Lite with ImageNet classes from converted weights; depth: 1.0 for Lite0, 1.1 for Lite1."""
    stages = architectures.deepen(architectures.EFFICIENTNET, depth)
    body = fill(architectures.inverted_residuals(stages, classes=1000, name=name), weights)
    return wrap(
        body, preprocessing="lite", name=name, size=size, classes=imagenet_classes(), main=_blocks(body, stages)
    )


def _blocks(body, stages):
    """Stem, the output of every block, head: the layers of an inverted-residual network worth showing."""
    present = {layer.name for layer in body.layers}
    ends = [f"{b}_add" if f"{b}_add" in present else f"{b}_project" for b in architectures.block_names(stages)]
    return ("stem_relu", *ends, "head_relu")


EMBEDDED = {
    "vgg16": _vgg16,
    "efficientnet_lite0": lambda: efficientnet_lite("efficientnet_lite0", read_weights("efficientnet_lite0")),
}
# keras.applications by name: (function's name, preprocessing); their weights are downloaded by Keras at first use
DOWNLOADED = {
    "vgg16_with_top": ("VGG16", "caffe"), "vgg19": ("VGG19", "caffe"), "resnet50": ("ResNet50", "caffe"),
    "resnet50_v2": ("ResNet50V2", "tf"), "inception_v3": ("InceptionV3", "tf"), "xception": ("Xception", "tf"),
    "mobilenet": ("MobileNet", "tf"), "mobilenet_v2": ("MobileNetV2", "tf"), "densenet121": ("DenseNet121", "torch"),
    "efficientnet_b0": ("EfficientNetB0", "0-255"),
}  # fmt: skip


@functools.lru_cache(maxsize=4)
def load(name):
    """A Network by name: embedded (needs nothing else) or from keras.applications (downloaded once by Keras).

    Raises InputError for an unknown name, altered weights, or weights that cannot be downloaded.
    """
    if name in EMBEDDED:
        return EMBEDDED[name]()
    if name not in DOWNLOADED:
        raise unknown("network", name, (*EMBEDDED, *DOWNLOADED))
    function, preprocessing = DOWNLOADED[name]
    try:
        model = getattr(keras.applications, function)(weights="imagenet", classifier_activation=None)
    except Exception as error:  # Keras raises bare Exception for a failed download
        here = " or ".join(EMBEDDED)
        raise InputError(f"{name} needs weights that Keras downloads at first use, and that failed ({_first(error)}); "
                         f"connect to a network once, or use {here}, which are here.") from None  # fmt: skip
    return wrap(model, preprocessing=preprocessing, name=name, classes=imagenet_classes())


def _first(error):
    return str(error).strip().splitlines()[0][:80] if str(error).strip() else type(error).__name__
