"""What a point leaves in its folder, and the ledger of a sweep. A point is finished when its record says so.

The record (record.json, one a point, written whole) is the truth; the ledger (ledger.jsonl, one line an ending) is
the log that people and `table` read, and is mended from the records."""

import contextlib
import datetime
import errno
import json
import os
import platform
from pathlib import Path

import nbformat

from vizlib import __version__, files
from vizlib.errors import InputError

RECORD, LEDGER = "record.json", "ledger.jsonl"
KEYS = (
    "id",
    "notebook",
    "parameters",
    "work",
    "status",
    "fault",
    "error",
    "seconds",
    "memory",
    "host",
    "ended",
    "vizlib",
)
# what an operating system says where a disk or the memory is at fault, in whatever error a notebook wraps it
PARTIAL = ".unfinished.ipynb"  # what a point that is being executed has written so far
CODES = ("ENOSPC", "EROFS", "EDQUOT", "ENOMEM", "EIO", "EACCES", "EADDRINUSE", "EMFILE", "ENFILE", "EAGAIN", "ESTALE")
MACHINE = (*(os.strerror(getattr(errno, n)) for n in CODES if hasattr(errno, n)), "can't start new thread")
MACHINE_ERRORS = (
    "MemoryError", "ResourceExhaustedError", "KeyboardInterrupt", "OSError", "BlockingIOError", "TimeoutError",
    "ConnectionError", "ConnectionResetError", "BrokenPipeError", "ImportError", "ModuleNotFoundError",
)  # fmt: skip


def record(point, *, error="", fault="", seconds=0.0, memory=0.0):
    """The record of an ending: done without an error; else failed by the "parameters" or by the "machine".
    seconds: of this execution; memory: its peak in GiB."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    ending = {"status": "failed" if error else "done", "fault": fault, "error": " ".join(str(error).split())[:500],
              "seconds": round(seconds, 2), "memory": round(memory, 2), "host": platform.node(), "ended": now,
              "vizlib": __version__}  # fmt: skip
    return {key: (point | ending)[key] for key in KEYS}


def blame(kind, text):
    """Whose fault an error is, by the name of its class and what it says: "machine" or "parameters"."""
    return "machine" if kind in MACHINE_ERRORS or any(said in text for said in MACHINE) else "parameters"


def write(point, content):
    """Put a record into its point's folder; where the disk refuses, only whoever executed it knows how it ended."""
    try:
        files.write(Path(point["folder"]) / RECORD, (json.dumps(content, indent=1) + "\n").encode())
    except InputError:
        if content["status"] == "done":
            raise


def read(folder):
    """The record in a folder, None where there is none that can be read."""
    try:
        return _whole(json.loads((Path(folder) / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _whole(content):
    return content if isinstance(content, dict) and set(KEYS) <= set(content) else None


def finished(point):
    """A point's record where it ended: done, or failed in a way that trying again would not change; else None."""
    found = read(point["folder"])
    if not found or found["id"] != point["id"]:
        return None
    return found if found["fault"] == "parameters" or (found["status"] == "done" and there(point)) else None


def there(point):
    """Whether what a done point leaves is still in its folder."""
    return all((Path(point["folder"]) / n).is_file() for n in (Path(point["notebook"]).name, "summary.json"))


def missing(notebook, folder, *, since):
    """What an executed notebook lacks of a whole run, in words, "" for nothing: every code cell executed without an
    error, and a summary.json that is whole and newer than `since` (ns). papermill's own metadata is no evidence: after
    a killed kernel or a cell's timeout it says completed in every cell."""
    try:
        cells = [c for c in nbformat.read(notebook, 4).cells if c.cell_type == "code" and c.source.strip()]
    except Exception as error:  # half a file
        return f"the executed notebook cannot be read ({str(error)[:80]})"
    left = sum(c.execution_count is None for c in cells)
    if left or any(o.output_type == "error" for c in cells for o in c.outputs):
        return f"{left} of {len(cells)} code cells were not executed" if left else "a cell ended with an error"
    summary = Path(folder) / "summary.json"
    try:
        content, written = json.loads(summary.read_text(encoding="utf-8")), summary.stat().st_mtime_ns
    except (OSError, ValueError):
        return "summary.json is missing or torn"
    whole = isinstance(content, dict) and {"parameters", "seconds"} <= set(content)
    return "" if whole and written >= since else "summary.json is not of this run"


def append(out, content):
    """One line more in the ledger, on the disk before this returns; InputError where the disk refuses."""
    path = Path(out) / LEDGER
    try:
        with open(path, "a+b") as file:
            file.seek(-min(1, file.seek(0, os.SEEK_END)), os.SEEK_END)
            torn = file.read() not in (b"", b"\n")  # by a crash in the midst of a line
            file.write(b"\n" * torn + json.dumps(content).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); free some disk space and call again: what is "
                         "finished is kept.") from None  # fmt: skip


def ledger(out):
    """The last line of every point, {id: record}; a line that a crash tore is passed over."""
    path, last = Path(out) / LEDGER, {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            if content := _whole(json.loads(line)):
                last[content["id"]] = content
    return last
