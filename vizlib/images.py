"""Pictures in and out under one contract: float32 RGB, (H, W, 3), in [0, 1], never rescaled by their own extremes."""

import io
import os
import uuid
import warnings
from numbers import Integral
from pathlib import Path

import numpy as np
from PIL import Image

from vizlib.errors import InputError, unknown

MAX_PIXELS, MIN_SIDE = 50_000_000, 8
# a closed list, because Pillow's other readers may start programs (EPS) or have no signature to tell them by
READABLE = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM")
# how each format is written, best first; a byte limit walks down the list, then shrinks the picture
WRITABLE = {"png": [{}], "jpeg": [{"quality": quality, "subsampling": 0} for quality in (95, 85, 70, 50)]}
SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
# the value of white in grey modes that Pillow would clip at 255 instead of scaling
WHITE = {"I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I;16N": 65535, "F": 1}
# EXIF orientations 2 to 8: how to turn the stored picture upright
UPRIGHT = dict(enumerate(map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), start=2))


def data_path(*parts):
    """Path of a shipped file or folder: in vizlib/data of an installed wheel, in data/ of a checkout."""
    package = Path(__file__).resolve().parent
    return (package if (package / "data").is_dir() else package.parent).joinpath("data", *parts)


def samples():
    """Names of the shipped photographs, sorted."""
    return tuple(sorted(path.stem for path in data_path("images").glob("*.jpg")))


def load(source, *, size=None):
    """A picture as float32 (H, W, 3) in [0, 1]; with `size`, its centre square resized to (size, size, 3).

    source: a sample's name, a file's path, or the bytes of an upload. EXIF rotation is applied, transparency laid on
    white, the first frame of an animation taken, 16-bit grey scaled by 65535; 16-bit colour keeps its upper 8 bits
    and colour profiles are ignored. Raises InputError, one sentence, for everything that cannot be loaded right.
    """
    shown, stream = _open(source)
    with stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files: each is loaded right or refused below
        picture = _header(stream, shown)
        try:
            picture.load()
            picture = _upright(picture)
            if size is not None:  # cropped before the floats exist, which take four times the memory
                picture = picture.crop(_centre(*picture.size))
            image = _grey(picture, shown) if picture.mode in WHITE else _rgb(picture, shown)
        except InputError:
            raise
        except Exception as error:  # a broken file makes Pillow raise nearly anything
            cause = " ".join(str(error).split())[:80].rstrip(".")
            raise InputError(f"{shown} is damaged or cut short ({cause}): copy it again or use another file.") from None
    return image if size is None else resize(image, size)


def _open(source):
    if isinstance(source, bytes | bytearray | memoryview):
        return "The uploaded file", io.BytesIO(source)
    if not isinstance(source, str | Path):
        raise InputError(f"An image is a sample's name, a path or bytes, not {type(source).__name__}: pass one of these.")
    shown, path = _shown(source), os.path.expanduser(source)
    if source in samples():
        path = data_path("images", f"{source}.jpg")
    if os.path.isfile(path) and os.access(path, os.R_OK):
        return shown, open(path, "rb")
    if os.path.isdir(path):
        raise InputError(f"{shown} is a folder: give the path of one picture in it.")
    if os.path.exists(path):
        raise InputError(f"{shown} cannot be read: check that it is an ordinary file and that you may read it.")
    raise unknown("image or missing file", source, samples(), hint="(or check the path of your file)")


def _shown(source):
    text = repr(str(source))
    return text if len(text) <= 80 else f"{text[:30]}…{text[-49:]}"


def _header(stream, shown):
    try:
        picture = Image.open(stream, formats=READABLE)
    except Image.DecompressionBombError:
        picture = None
    except Exception:  # a broken header makes Pillow raise nearly anything
        raise InputError(f"{shown} is not a picture that can be read: save it as JPEG or PNG and try again.") from None
    if picture is None or picture.width * picture.height > MAX_PIXELS:
        raise InputError(f"{shown} has more than {MAX_PIXELS // 10**6} megapixels: scale it down and try again.")
    if min(picture.size) < MIN_SIDE:
        size = f"{picture.width}×{picture.height}"
        raise InputError(f"{shown} is {size} pixels small: use a picture of at least {MIN_SIDE} pixels a side.")
    return picture


def _upright(picture):
    if picture.format == "PPM" and picture.mode == "I":
        picture = picture.convert("I;16")  # Pillow has scaled a 16-bit PGM to 65535 already
    try:
        orientation = picture.getexif().get(0x0112)
    except Exception:  # broken EXIF does not spoil a readable picture
        orientation = None
    return picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture


def _centre(width, height):
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _grey(picture, shown):
    values = np.asarray(picture)
    grey = values.astype(np.float32) / WHITE[picture.mode]
    if not (grey.min() >= 0 and grey.max() <= 1):  # so written, NaN is refused too
        raise InputError(f"{shown} holds floating-point values outside [0, 1]: scale them or save it as an 8-bit PNG.")
    grey[values == picture.info.get("transparency", -1)] = 1
    return np.repeat(grey[..., None], 3, axis=-1)


def _rgb(picture, shown):
    if picture.mode in ("I", "LAB"):
        raise InputError(f"{shown} is in Pillow's mode {picture.mode}, without a known white: save it as an 8-bit PNG.")
    if not picture.has_transparency_data:
        return np.asarray(picture.convert("RGB"), np.float32) / 255
    rgba = np.asarray(picture.convert("RGBA"), np.float32) / 255
    return 1 - rgba[..., 3:] * (1 - rgba[..., :3])


def resize(image, size):
    """The centre square of an image as float32 (size, size, 3): antialiased Lanczos in float, clipped to [0, 1]."""
    if isinstance(size, bool) or not isinstance(size, Integral) or not 1 <= size <= 4096:
        raise InputError(f"size must be a whole number of pixels from 1 to 4096, not {size!r}; try size=224.")
    image = check(image)
    box = _centre(image.shape[1], image.shape[0])
    bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(image, -1, 0)]
    bands = [band.resize((int(size), int(size)), Image.Resampling.LANCZOS, box=box) for band in bands]
    return np.clip(np.stack(bands, axis=-1), 0, 1)


def check(image, *, name="image"):
    """`image` as a float32 array, or an InputError that says how it breaks the contract and what mends it."""
    try:
        array = np.asarray(image)
        if array.dtype.kind in "OSUcmM":
            raise TypeError
        with np.errstate(over="ignore"):
            array = array.astype(np.float32, copy=False)
    except Exception:  # ragged lists, symbolic tensors and others each have their own
        raise InputError(f"{name} is not an array of numbers: pass a float32 array of shape (H, W, 3).") from None
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise InputError(f"{name} has shape {array.shape}, not (H, W, 3): {_reshaping(array.shape)}.")
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds values that are not finite: replace them or lower the rate that led there.")
    low, high = float(array.min()), float(array.max())
    if low < -1e-6 or high > 1 + 1e-6:
        raise InputError(f"{name} runs from {low:.4g} to {high:.4g}, not within [0, 1]: {_rescaling(low, high)}.")
    return array


def _reshaping(shape):
    match shape:
        case (_, _, _, _):
            return "take one picture out of the batch, as in image[0]"
        case (_, _) | (_, _, 1):
            return "repeat the grey values in three channels, as in np.dstack([image] * 3)"
        case (_, _, 4):
            return "leave out the alpha channel, as in image[..., :3]"
        case (3, _, _):
            return "move the colours to the last axis, as in np.moveaxis(image, 0, -1)"
    return "pass rows, columns and three colours"


def _rescaling(low, high):
    if 0 <= low and 2 < high <= 255:
        return "divide by 255"
    if -1 <= low and high <= 1:
        return "from [-1, 1] use (image + 1) / 2"
    return "undo a network's preprocessing, or np.clip(image, 0, 1)"


def to_uint8(image):
    """Values in [0, 1], any shape, as whole numbers 0–255: rounded, and clipped where they lie outside."""
    return np.rint(np.clip(np.asarray(image, np.float32), 0, 1) * 255).astype(np.uint8)


def encode(image, *, format="png", limit=None):
    """The image as bytes of a PNG or JPEG; `limit` (bytes) lowers a JPEG's quality, then the size, until it fits."""
    if format not in WRITABLE:
        raise unknown("picture format", format, WRITABLE)
    for data in _encodings(Image.fromarray(to_uint8(check(image))), format):
        if limit is None or len(data) <= limit:
            return data
    raise InputError(f"No picture fits into limit={limit!r} bytes: allow some thousands, such as limit=200_000.")


def _encodings(picture, format):
    while True:
        for options in WRITABLE[format]:
            stream = io.BytesIO()
            picture.save(stream, format, **options)
            yield stream.getvalue()
        smaller = [side * 3 // 4 for side in picture.size]
        if min(smaller) < 1:
            return
        picture = picture.resize(smaller, Image.Resampling.LANCZOS)


def save(image, path):
    """Write an image as .png, .jpg or .jpeg, whole or not at all; the folder is made where it is missing."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise unknown("extension of a picture", path.suffix, SUFFIXES)
    data, draft = encode(image, format=SUFFIXES[path.suffix.lower()]), path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        os.replace(draft, path)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise InputError(f"{_shown(path)} cannot be written ({cause}): choose a folder that you may write to.") from None
    finally:
        if os.path.exists(draft):
            os.unlink(draft)
