"""One point, executed in a process apart, under limits of time and memory: a plain function for whoever schedules.

    execute.point(points.read("sweep.yaml", out="results")[7])

Every thread keeps its own process, and so a warm kernel, until `end`."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from viztools import records

TIMEOUT, RETRIES, EACH = 3600.0, 2, 50  # seconds a point; tries after the machine's faults; points a kernel
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "JUPYTER_PREFER_ENV_PATH": "1"}  # and this environment's kernel, not a user's
_mine, _all, ended = threading.local(), weakref.WeakSet(), threading.Event()


class Ended(Exception):
    """The process has ended, or had to be ended, without an answer."""


class Runner:
    """A process of viztools.kernel, and what it answers."""

    def __init__(self, *, threads, show):
        # each kernel computes with its share of the cores only
        names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        share = dict.fromkeys(names, str(threads)) if threads else {}
        mine = {k: v for k, v in os.environ.items() if k != "JPY_SESSION_NAME"}  # no person sits before this kernel
        self.threads, self.log = threads, None if show else tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "viztools.kernel"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            text=True, start_new_session=True, env={**QUIET, **mine, **share},
        )  # fmt: skip
        self.answers = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        _all.add(self)

    def _listen(self):
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put(None)

    def ask(self, request, *, timeout):
        """The answer to a request; Ended, saying why, where none comes."""
        with contextlib.suppress(OSError):  # if it has ended, the answer is None
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        try:
            answer = self.answers.get(timeout=timeout)
        except queue.Empty:
            raise Ended(f"it took longer than {timeout:g} s") from None
        if answer is None:
            raise Ended(f"the process that executes it ended (status {self.process.wait()}){self._said()}")
        try:
            return json.loads(answer)
        except ValueError:
            raise Ended("the process that executes it ended in the midst of its answer") from None

    def _said(self):
        if self.log is None:
            return ""
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").split("\n")
        return ": " + " ".join(line for line in lines[-3:] if line)[-300:]

    def end(self):
        """Kill the process and its kernel, which has a session of its own."""
        below = []
        with contextlib.suppress(psutil.Error):
            below = psutil.Process(self.process.pid).children(recursive=True)
        for process in [*below, self.process]:
            with contextlib.suppress(psutil.Error):  # it may be gone by now
                process.kill()
        self.process.wait()


def end():
    """End every process that a thread of this one keeps; points that they execute are left as if never begun."""
    ended.set()
    for runner in list(_all):
        runner.end()


def point(point, *, threads=None, timeout=TIMEOUT, memory=None, retries=RETRIES, each=EACH, show=False):
    """Execute a point unless it has ended already; gives its record, which is also on disk.
    threads: that it may compute with (None = all); timeout: seconds; memory: GiB at most; retries: where the machine
    was at fault; each: points after which a kernel is replaced, 1 = never a warm one; show: papermill's progress."""
    if known := records.finished(point):
        return known
    limit = memory or 0.9 * psutil.virtual_memory().available / 2**30
    request = {"point": point, "limit": limit, "each": each, "show": show}
    for _ in range(1 + retries):
        found = _once(request, threads, timeout, show)
        if found["fault"] != "machine":
            break
    return found


def _once(request, threads, timeout, show):
    runner, begun = getattr(_mine, "runner", None), time.perf_counter()
    try:
        if runner is None or runner.process.poll() is not None or runner.threads != threads:
            runner = _mine.runner = Runner(threads=threads, show=show)
        if ended.is_set():  # also where it was set since, so that `end` did not know of this one
            raise Ended
        return runner.ask(request, timeout=timeout)
    except (Ended, OSError) as error:
        if runner:
            runner.end()
        if ended.is_set():
            raise KeyboardInterrupt from None
        return _broken_off(request["point"], error, time.perf_counter() - begun)


def _broken_off(point, error, seconds):
    """The record of a point whose process gave no answer; or its own, if it had ended and answered to nobody."""
    found = records.record(point, error=error, fault="machine", seconds=seconds)
    with contextlib.suppress(OSError, Timeout), FileLock(Path(point["folder"]) / ".lock", timeout=5):
        if known := records.finished(point):
            return known
        with contextlib.suppress(OSError):  # how far it came
            os.replace(Path(point["folder"]) / records.PARTIAL, Path(point["folder"]) / "failed.ipynb")
        records.write(point, found)
    return found
