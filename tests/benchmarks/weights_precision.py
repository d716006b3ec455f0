"""What storing weights in float16 changes: relative difference of features at every layer, on the sample photographs.

    python data/convert_weights.py --float32 FOLDER
    python tests/benchmarks/weights_precision.py FOLDER

Prints the largest ‖Φ16 − Φ32‖ / ‖Φ32‖ of each network's layers and logits; at most 1e-2 is wanted.
"""

import argparse
from pathlib import Path

import numpy as np

from vizlib import images, networks
from vizlib.backend import keras


def features(network, photographs):
    """Every main layer's output, and the logits where there are any."""
    outputs = [network.outputs[name] for name in network.main]
    outputs += [network.model.output] if network.classes else []
    return keras.Model(network.model.input, outputs).predict(photographs, verbose=0, batch_size=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    photographs = np.stack([images.load(name, size=224) for name in images.samples()])
    for name in ("vgg16", "efficientnet_lite0"):
        half, full = networks.load(name), networks.read(folder / name)
        pairs = zip(*(features(n, photographs) for n in (half, full)), strict=True)
        changes = [float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs]
        labels = [*half.main, "logits"][: len(changes)]
        worst = int(np.argmax(changes))
        print(f"{name}: {len(changes)} outputs, largest change {changes[worst]:.1e} at {labels[worst]}")


if __name__ == "__main__":
    main()
