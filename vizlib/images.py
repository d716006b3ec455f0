"""Pictures in and out under one contract: float32 RGB, (H, W, 3), in [0, 1], never rescaled by their own extremes."""

import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vizlib.errors import InputError, unknown
from vizlib.files import data_path, write

MAX_PIXELS, MIN_SIDE = 50_000_000, 8
# a closed list, because Pillow's other readers may start programs (EPS) or have no signature to tell them by
READABLE = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM")
# what broken files make Pillow raise (found by altering bytes at random), and NumPy for what is no array
BROKEN = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError)
# the value of white in grey modes that Pillow would clip at 255 instead of scaling
WHITE = {"I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I;16N": 65535, "F": 1}
# how EXIF orientations 2 to 8 are turned upright (ImageOps.exif_transpose fails where other EXIF tags are broken)
UPRIGHT = dict(enumerate(map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), start=2))
RESHAPING = {2: "stack grey, np.dstack([image] * 3)", 3: "three colours come last (np.moveaxis)", 4: "pass image[0]"}


def samples():
    """Names of the shipped photographs, sorted."""
    return tuple(sorted(path.stem for path in data_path("images").glob("*.jpg")))


def load(source, *, size=None):
    """A picture as float32 (H, W, 3) in [0, 1]; with `size`, its centre square resized to (size, size, 3).
    source: a sample's name, a file's path, or the bytes of an upload. EXIF rotation is applied, transparency laid on
    white, an animation's first frame taken, 16-bit grey scaled by 65535; 16-bit colour keeps its upper 8 bits, colour
    profiles are ignored. InputError, one sentence, for all that cannot be loaded right."""
    shown, file = _locate(source)
    try:
        # Pillow's remarks on odd files are of no use: each file is loaded right or refused here
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=READABLE) as picture:
            image = check(_decode(picture, shown), name=shown)
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{shown} has more than {MAX_PIXELS // 10**6} megapixels: scale it down first.") from None
    except UnidentifiedImageError:
        raise InputError(f"{shown} is not a picture that can be read: save it as JPEG or PNG and try again.") from None
    except BROKEN as error:
        raise InputError(f"{shown} cannot be read whole ({str(error)[:80]!r}): copy it again or use another.") from None
    return image if size is None else resize(image, size)


def _locate(source):
    if isinstance(source, bytes | bytearray | memoryview):
        return "The uploaded file", io.BytesIO(source)
    if not isinstance(source, str | Path):
        raise InputError(f"An image is a sample's name, a path or bytes: pass that, not {type(source).__name__}.")
    shown = repr(str(source)[-80:])  # its end tells more than its start
    path = data_path("images", f"{source}.jpg") if source in samples() else os.path.expanduser(source)
    if os.path.isdir(path):
        raise InputError(f"{shown} is a folder: give the path of one picture in it.")
    if not os.path.isfile(path):  # a pipe would be waited for without end
        raise unknown("sample or missing file", source, samples(), hint="(or check the path of your file)")
    return shown, path


def _decode(picture, shown):
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError
    if min(width, height) < MIN_SIDE:
        raise InputError(f"{shown} has only {width}×{height} pixels: use a picture of at least {MIN_SIDE} a side.")
    if picture.mode in ("I", "LAB"):
        raise InputError(f"{shown} is in Pillow's mode {picture.mode}, without a known white: save it as an 8-bit PNG.")
    picture.load()  # first, for some files hold their EXIF behind the pixels
    turn = UPRIGHT.get(picture.getexif().get(0x0112))
    picture = picture if turn is None else picture.transpose(turn)
    if picture.mode in WHITE:
        grey = np.asarray(picture, np.float32)
        return np.dstack([np.where(grey == picture.info.get("transparency"), 1, grey / WHITE[picture.mode])] * 3)
    if not picture.has_transparency_data:
        return np.asarray(picture.convert("RGB"), np.float32) / 255
    rgba = np.asarray(picture.convert("RGBA"), np.float32) / 255
    return 1 - rgba[..., 3:] * (1 - rgba[..., :3])


def resize(image, size):
    """The centre square of an image as float32 (size, size, 3): antialiased Lanczos in float, clipped to [0, 1]."""
    if not isinstance(size, int | np.integer) or not MIN_SIDE <= size <= 4096:
        raise InputError(f"size must be a whole number of pixels from {MIN_SIDE} to 4096, not {size!r}; try size=224.")
    image = check(image)
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    bands = np.moveaxis(image[top : top + side, left : left + side], -1, 0)
    return np.clip(np.dstack([Image.fromarray(band).resize((size, size), Image.LANCZOS) for band in bands]), 0, 1)


def check(image, *, name="image"):
    """`image` as a float32 array, or an InputError that says how it breaks the contract and what mends it."""
    try:
        array = np.asarray(image, np.float32)
    except BROKEN:
        raise InputError(f"{name} is not an array of numbers: pass a float32 array of shape (H, W, 3).") from None
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise InputError(f"{name} has shape {array.shape}, not (H, W, 3): {RESHAPING.get(array.ndim, 'pass pixels')}.")
    low, high = float(array.min()), float(array.max())
    if not (low >= -1e-6 and high <= 1 + 1e-6):  # so written, NaN is refused too
        advice = "divide by 255" if low >= 0 and 2 < high <= 255 else "undo its preprocessing, or clip it"
        raise InputError(f"{name} has values from {low:.4g} to {high:.4g}, outside [0, 1]: {advice}.")
    return array


def to_uint8(image):
    """Values in [0, 1], any shape, as whole numbers 0–255: rounded, and clipped where they lie outside."""
    return np.rint(np.clip(np.asarray(image, np.float32), 0, 1) * 255).astype(np.uint8)


def encode(image, *, format="png"):
    """The image as bytes of a PNG or JPEG."""
    if format not in ("png", "jpeg", "jpg"):
        raise unknown("picture format", format, ("png", "jpeg", "jpg"))
    stream, picture = io.BytesIO(), Image.fromarray(to_uint8(check(image)))
    picture.save(stream, format.replace("jpg", "jpeg"), quality=95, subsampling=0)
    return stream.getvalue()


def save(image, path):
    """Write an image as .png, .jpg or .jpeg, whole or not at all; a missing folder is made."""
    write(path, encode(image, format=Path(path).suffix.lower().lstrip(".")))
