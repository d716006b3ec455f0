"""Make data/spectrum.npy, the mean magnitude spectrum of photographs, from a folder of them.

    python data/make_spectrum.py FOLDER

Each photograph's centre square, SIZE px, loses its mean colour, is turned into the decorrelated colours of
`vizlib.canvas` and faded out towards its borders (Hann window: without it the jump from one border to the other leaves
a cross of lines). Kept is the mean magnitude of every frequency, times that frequency, folded to |fy|, fx ≥ 0:
float16 (3, SIZE/2 + 1, SIZE/2 + 1).
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from vizlib import canvas, files, images

SIZE = 224


def magnitudes(file, window):
    """|rfft2| of one photograph over 1/f, in decorrelated colours: (3, SIZE, SIZE/2 + 1)."""
    photo = images.load(file, size=SIZE)
    mean = photo.mean((0, 1))
    (spectrum,) = canvas.Fourier()._spectrum(4.0 * ((photo - mean) * window)[None])
    return np.hypot(spectrum[0, ..., 0], spectrum[0, ..., 1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    photographs = sorted(parser.parse_args().folder.glob("*.jpg"))
    window = np.outer(np.hanning(SIZE), np.hanning(SIZE))[..., None]
    window /= np.sqrt(np.mean(window**2))
    mean = np.mean([magnitudes(file, window) for file in photographs], axis=0)
    rows = np.arange(SIZE // 2 + 1)
    quarter = (mean[:, rows] + mean[:, -rows]) / 2
    quarter[:, 0, 0] = (quarter[:, 0, 1] + quarter[:, 1, 0]) / 2  # nothing is known at f = 0, but its neighbours are
    np.save(files.data_path("spectrum.npy"), quarter.astype(np.float16))
    print(f"data/spectrum.npy: the mean of {len(photographs)} photographs")


if __name__ == "__main__":
    main()
