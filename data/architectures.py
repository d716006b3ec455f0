"""The shapes of the shipped networks, built empty: VGG16 and stacks of inverted residuals.

`convert_weights.py` folds batch normalisations into the convolutions before them, so a convolution here always has a
bias and what follows it is its activation.
"""

from collections import namedtuple
from math import ceil

# one stage of inverted residuals: `repeats` blocks, the first of which has the stride
Stage = namedtuple("Stage", "repeats kernel stride expansion channels")
# Tan & Le 2019, table 1; the "lite" variants leave out squeeze-excite, keep stem, head, first and last stage unscaled
EFFICIENTNET = tuple(Stage(*row) for row in (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320)))  # fmt: skip
# Sandler et al. 2018, table 2
MOBILENET_V2 = tuple(Stage(*row) for row in (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (3, 3, 2, 6, 32), (4, 3, 2, 6, 64), (3, 3, 1, 6, 96), (3, 3, 2, 6, 160),
    (1, 3, 1, 6, 320)))  # fmt: skip


def deepen(stages, factor):
    """The same stages with repeats times `factor`, rounded up; first and last stay (EfficientNet-Lite)."""
    middle = [s._replace(repeats=ceil(s.repeats * factor)) for s in stages[1:-1]]
    return (stages[0], *middle, stages[-1])


def block_names(stages):
    """`block1a`, `block2a`, `block2b`, …: stage number and letter of every block, in order."""
    return [f"block{i}{chr(97 + r)}" for i, s in enumerate(stages, 1) for r in range(s.repeats)]


def vgg16_body():
    """VGG16's convolutions and pools: keras.Model, (B, H, W, 3) mean-subtracted BGR → (B, H/32, W/32, 512)."""
    import keras

    body = keras.applications.VGG16(include_top=False, weights=None, input_shape=(None, None, 3))
    return keras.Model(body.input, body.output, name="vgg16")


def inverted_residuals(stages, *, name, classes=0):
    """EfficientNet-Lite or MobileNetV2 with folded batch norms: keras.Model, (B, H, W, 3) → (B, classes) logits, or
    without classes the last grid of features."""
    import keras
    from keras import layers

    image = keras.Input((None, None, 3))
    x = _convolution(image, 32, 3, name="stem", strides=2)
    names = iter(block_names(stages))
    for stage in stages:
        for r in range(stage.repeats):
            x = _inverted_residual(x, stage, stride=1 if r else stage.stride, name=next(names))
    x = _convolution(x, 1280, 1, name="head")
    if classes:
        x = layers.Dense(classes, name="predictions")(layers.GlobalAveragePooling2D(name="average")(x))
    return keras.Model(image, x, name=name)


def blocks(body, stages):
    """Stem, the output of every block, head: the layers of an inverted-residual network worth showing."""
    present = {layer.name for layer in body.layers}
    ends = [f"{b}_add" if f"{b}_add" in present else f"{b}_project" for b in block_names(stages)]
    return ("stem_relu", *ends, "head_relu")


def _convolution(x, channels, kernel, *, name, strides=1):
    from keras import layers

    x = layers.Conv2D(channels, kernel, strides=strides, padding="same", name=name)(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _inverted_residual(x, stage, *, stride, name):
    from keras import layers

    y, width = x, x.shape[-1]
    if stage.expansion > 1:
        y = _convolution(y, width * stage.expansion, 1, name=f"{name}_expand")
    y = layers.DepthwiseConv2D(stage.kernel, strides=stride, padding="same", name=f"{name}_depthwise")(y)
    y = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(y)
    y = layers.Conv2D(stage.channels, 1, padding="same", name=f"{name}_project")(y)
    same = stride == 1 and width == stage.channels
    return layers.Add(name=f"{name}_add")([x, y]) if same else y
