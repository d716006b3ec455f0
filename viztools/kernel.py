"""The process that executes points one after another in one warm kernel: `python -m viztools.kernel`.

It reads a request a line (JSON) from standard input and answers each with its record. When its input ends, so does it,
and its kernel: whoever asked is gone, and nobody else may be kept from the folder.

Start-up (kernel, TensorFlow, networks, compiling) is paid once for many points. Between two points the kernel's
namespace is cleared; what stays are imported modules and what vizlib keeps compiled."""

import contextlib
import gc
import json
import os
import queue
import sys
import threading
import time
from pathlib import Path

import papermill
import psutil
from filelock import FileLock
from jupyter_client import AsyncKernelManager, BlockingKernelClient
from jupyter_core.utils import run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines

from viztools import records

CLEAR = (
    "get_ipython().reset(new_session=True); import gc, matplotlib.pyplot; matplotlib.pyplot.close('all'); gc.collect()"
)


class Warm(Engine):
    """papermill's way to execute in a given kernel; its own leaves the client's sockets and threads open."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, *, km, **_):
        client = PapermillNotebookClient(nb_man, km=km, kernel_name=kernel_name, startup_timeout=60)
        try:
            return client.execute()
        finally:
            if client.kc:
                client.kc.stop_channels()


papermill_engines.register("warm", Warm)


class Kernel:
    """A kernel that is kept between points of one basis, until it has executed `each` or taken half of its memory."""

    def __init__(self):
        self.manager, self.used, self.basis = None, 0, None

    def ready(self, basis, *, each, limit):
        """The manager of a living kernel with an empty namespace, or of one that is yet to start."""
        stale = self.used >= each or self.basis != basis or memory() > limit / 2
        if self.manager and (stale or not self._cleared()):
            self.end()
        self.basis = basis
        self.manager, self.used = self.manager or AsyncKernelManager(kernel_name="python3"), self.used + 1
        return self.manager

    def _cleared(self):
        client = BlockingKernelClient()
        client.load_connection_info(self.manager.get_connection_info())
        client.start_channels()
        try:
            reply = client.execute_interactive(CLEAR, silent=True, store_history=False, timeout=30)
            return reply["content"]["status"] == "ok"
        except (RuntimeError, TimeoutError):  # it died since
            return False
        finally:
            client.stop_channels()

    def end(self):
        """Kill the kernel: it holds nothing that is wanted."""
        kill()
        if self.manager and self.manager.has_kernel:
            with contextlib.suppress(Exception):  # it may be dead already
                run_sync(self.manager.shutdown_kernel)(now=True)
        self.manager, self.used = None, 0
        gc.collect()


def _below():
    return psutil.Process().children(recursive=True)


def kill():
    """Kill all processes below this one."""
    for process in _below():
        with contextlib.suppress(psutil.Error):
            process.kill()


def memory():
    """GiB that the kernel and its children hold."""
    total = 0
    for process in _below():
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total / 2**30


class Watch(threading.Thread):
    """The peak of the kernel's memory; kills the kernel where it passes the limit."""

    def __init__(self, limit):
        super().__init__(daemon=True)
        self.limit, self.peak, self.over = limit, 0.0, threading.Event()

    def run(self):
        over = False
        while not over:
            over = self.over.wait(0.2)
            self.peak = max(self.peak, memory())
            if self.peak > self.limit:
                return kill()


def execute(request, kernel):
    """The record of a request's point: the one that is there if it is done, else of executing it now."""
    point, begun = request["point"], time.perf_counter()
    watch = Watch(request["limit"])
    try:
        Path(point["folder"]).mkdir(parents=True, exist_ok=True)
        with FileLock(Path(point["folder"]) / ".lock"):
            if known := records.finished(point):
                return known
            other = records.read(point["folder"])
            if other and other["id"] != point["id"] and other["status"] == "done":
                said = f"{point['folder']} holds a finished run with other parameters; give another folder."
                return records.record(point, error=said, fault="parameters")
            watch.start()
            try:
                fault, error = _run(point, request, kernel)
            finally:
                watch.over.set()
                watch.join()
            if watch.peak > watch.limit:
                fault, error = "machine", f"it took more than the {watch.limit:.1f} GiB of memory that it may have"
            made = {"seconds": time.perf_counter() - begun, "memory": watch.peak, "error": error, "fault": fault}
            records.write(point, found := records.record(point, **made))
            return found
    except Exception as error:  # the disk or the system: told to whoever asked, who may not have a disk either
        return records.record(point, error=f"{type(error).__name__}: {error}", fault="machine")


def _run(point, request, kernel):
    """Execute the notebook under a name of its own, check that it is whole, and only then give it its name."""
    folder = Path(point["folder"])
    (folder / ".lock").touch()
    since = (folder / ".lock").stat().st_mtime_ns  # by the clock that will also stamp the summary
    partial, name = folder / records.PARTIAL, Path(point["notebook"]).name
    options = {"parameters": point["parameters"] | {"out": str(folder)}, "progress_bar": request["show"]}
    options |= {"cwd": point["cwd"], "engine_name": "warm"}
    try:
        manager = kernel.ready(point["basis"], each=request["each"], limit=request["limit"])
        papermill.execute_notebook(point["notebook"], partial, km=manager, **options)
        fault, error = "", records.missing(partial, folder, since=since)
        fault = "machine" if error else ""
    except papermill.PapermillExecutionError as caught:
        error = f"{caught.ename}: {caught.evalue}"
        fault = records.blame(caught.ename, caught.evalue)
    except Exception as caught:
        fault, error = "machine", f"{type(caught).__name__}: {caught}"
    if fault == "machine":
        kernel.end()
    if partial.exists():
        os.replace(partial, folder / ("failed.ipynb" if error else name))
    return fault, error


def _listen(requests):
    for line in sys.stdin:
        requests.put(json.loads(line))
    kill()
    os._exit(0)


def main():
    """Answer requests until there are no more."""
    replies, requests, kernel = os.fdopen(os.dup(1), "w"), queue.SimpleQueue(), Kernel()
    os.dup2(2, 1)  # what kernels and libraries print is no answer
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        print(json.dumps(execute(requests.get(), kernel)), file=replies, flush=True)


if __name__ == "__main__":
    main()
