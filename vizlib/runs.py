"""What a notebook's run leaves behind: one folder with pictures and a `summary.json`. Loads no TensorFlow."""

import json
import math
import os
import platform
from importlib import metadata
from pathlib import Path

from vizlib.errors import InputError

PACKAGES = ("vizlib", "tensorflow", "keras", "numpy", "pillow")


def folder(out):
    """The results folder as a Path, made if missing; InputError where it cannot be written."""
    path = Path(str(out)).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        raise InputError(f"The folder {str(out)[:80]!r} cannot be written ({error.__class__.__name__}); "
                         "give another one as out.") from None  # fmt: skip
    return path


def versions():
    """Python's, the platform's and the main packages' versions."""
    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def write_summary(out, *, parameters, numbers, seconds):
    """Write out/summary.json in one piece: parameters, versions, seconds, and every number that was shown."""
    content = {"parameters": parameters, "versions": versions(), "seconds": round(seconds, 1), **numbers}
    path = folder(out) / "summary.json"
    temporary = path.with_suffix(".json.part")
    temporary.write_text(json.dumps(_plain(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return path


def _plain(value):
    """The same as JSON knows it: NumPy's numbers and arrays turned, null for what is not finite, text for the rest."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)
