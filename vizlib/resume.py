"""A run on disk: what was stopped or killed goes on where it was. Arrays in files; knows no run and no network."""

import contextlib
import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np

from vizlib.errors import InputError


def fingerprint(*parts):
    """24 hexadecimal digits that change with any of the parts: arrays by their bytes, all else by its repr."""
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        plain = isinstance(part, np.ndarray)
        digest.update(repr((part.shape, part.dtype) if plain else part).encode() + b"\0")
        digest.update(part.tobytes() if plain else b"")
    return digest.hexdigest()


def write(path, **arrays):
    """Write or replace a file in one piece, its folder too; InputError where the disk refuses."""
    path, part = Path(path), Path(f"{path}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            np.savez(file, **arrays)
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise InputError(f"The state of this run cannot be kept in {path.parent} ({error.strerror}); free some disk "
                         "space, or give another folder.") from None  # fmt: skip


def read(path):
    """The arrays of a file as a dict, {} where it is missing or damaged; never unpickles."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}
