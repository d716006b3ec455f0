"""What a notebook's run leaves behind: one folder with pictures and a `summary.json`. Loads no TensorFlow."""

import json
import platform
from importlib import metadata
from pathlib import Path

from vizlib import files


def folder(out):
    """The results folder as a Path, made if missing; InputError where it cannot be written."""
    path = Path(str(out)).expanduser()
    files.write(path / ".probe", b"")
    (path / ".probe").unlink(missing_ok=True)
    return path


def write_summary(out, *, parameters, numbers, seconds):
    """Write out/summary.json in one piece: parameters, versions, seconds, and every number that was shown."""
    named = ("vizlib", "tensorflow", "keras", "numpy", "pillow")
    versions = {d.name: d.version for d in metadata.distributions() if d.name in named}
    versions |= {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    content = {"parameters": parameters, "versions": versions, "seconds": round(seconds, 1), **numbers}
    text = json.dumps(content, default=lambda value: value.tolist() if hasattr(value, "tolist") else str(value))
    plain = json.loads(text, parse_constant=lambda name: None)  # NaN and infinity are no JSON
    files.write(path := folder(out) / "summary.json", (json.dumps(plain, indent=1) + "\n").encode())
    return path
