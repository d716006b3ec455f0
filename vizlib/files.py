"""Where shipped files are; files written whole or not at all, and arrays in them. Knows no run and no network."""

import contextlib
import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np

from vizlib.errors import InputError


def data_path(*parts):
    """Path of a shipped file or folder: in vizlib/data of an installed wheel, in data/ of a checkout."""
    package = Path(__file__).resolve().parent
    return (package if (package / "data").is_dir() else package.parent).joinpath("data", *parts)


def write(path, content):
    """Write or replace a file of bytes in one piece, its folder too; InputError where the disk refuses."""
    path, part = Path(path), Path(f"{path}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError, ValueError):
            part.unlink(missing_ok=True)
        raise InputError(f"{str(path)[-80:]!r} cannot be written ({getattr(error, 'strerror', error)}); free some disk "
                         "space, or give another folder.") from None  # fmt: skip


def read_arrays(path):
    """The arrays of a file as a dict, {} where it is missing or damaged; never unpickles."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}


def fingerprint(*parts):
    """24 hexadecimal digits that change with any of the parts: arrays by their bytes, all else by its repr."""
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        head = (part.shape, part.dtype) if isinstance(part, np.ndarray) else part
        digest.update(repr(head).encode() + b"\0" + (b"" if head is part else part.tobytes()))
    return digest.hexdigest()
