"""Many points, each once: on this machine's cores or on a Dask cluster, with a ledger that outlives any crash."""

import contextlib
import functools
import os
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import psutil
from filelock import FileLock, Timeout
from tqdm import tqdm

from vizlib import runs
from vizlib.errors import InputError
from viztools import execute, records
from viztools.points import measured

NEED = 2.3  # GiB that a notebook takes at its defaults, measured (README)
WAIT = 60.0  # seconds that a lost scheduler may take to come back


def cores():
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def shares(count, *, workers=None, threads=None):
    """(workers, threads a worker, GiB a worker) for so many points: cores and memory are shared out, not oversold."""
    free = 0.9 * psutil.virtual_memory().available / 2**30
    workers = workers or max(1, min(cores(), count, int(free / NEED)))
    return workers, threads or max(1, cores() // workers), free / workers


def local(points, *, workers=None, threads=None, **options):
    """Execute points on this machine; a generator of records as they come. options: those of `execute.point`."""
    workers, threads, memory = shares(len(points), workers=workers, threads=threads)
    call = functools.partial(execute.point, threads=threads, memory=memory, retries=0, **options)
    pool = ThreadPoolExecutor(workers)
    try:
        for future in as_completed([pool.submit(call, point) for point in points]):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        execute.end()
        pool.shutdown()
        execute.ended.clear()


def cluster(points, *, address, workers=None, threads=None, **options):
    """The same on a Dask cluster that shares this machine's folders and has this package; InputError without one.
    A killed worker's points go to others; where the scheduler is lost, unfinished points wait for it and go on."""
    import distributed

    call = functools.partial(execute.point, threads=threads or 1, retries=0, **options)
    left = {p["id"]: p for p in points}
    lost = time.monotonic()  # since when no scheduler answers; None while one does
    while left:
        try:
            with distributed.Client(address, timeout=WAIT) as client:
                lost = None
                for found in _gathered(client, call, left):
                    left.pop(found["id"])
                    yield found
        except (OSError, ValueError, distributed.client.CancelledError, ConnectionError) as error:
            lost = lost or time.monotonic()
            if time.monotonic() - lost >= WAIT or isinstance(error, ValueError):
                raise InputError(f"No Dask scheduler answers at {address} ({' '.join(str(error).split())[:100]}); "
                                 "start one, and call again: what is finished is kept.") from None  # fmt: skip
            time.sleep(1)


def _gathered(client, call, left):
    import distributed

    futures = client.map(call, list(left.values()), pure=False, key=[f"{i}-{time.time_ns()}" for i in left])
    asked = dict(zip(futures, left.values(), strict=True))
    try:
        for future in distributed.as_completed(futures):
            if future.cancelled():
                raise ConnectionError("the scheduler was lost")
            error = future.exception()
            yield records.record(asked[future], error=error, fault="machine") if error else future.result()
    finally:
        client.cancel(futures)  # what has begun on a worker comes to its end, and nothing else begins


def run(points, out, execution, *, retries=execute.RETRIES):
    """Execute what is not finished of a sweep, one ledger line an ending; gives {id: record} of all its points.
    execution: points → records as they come (`local`, `cluster`); retries: of what failed by the machine's fault, after
    all else. InputError where another sweep holds the folder."""
    lock = FileLock(runs.folder(out) / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"Another sweep is writing into {out}: wait for its end, or give another folder.") from None
    with lock:
        known = _known(points, out)
        with tqdm(total=len(points), initial=len(known), unit=" points", desc=Path(out).name) as bar:
            _tell(bar, known)
            for _ in range(1 + retries):
                todo = [p for p in points if p["id"] not in known or known[p["id"]]["fault"] == "machine"]
                with contextlib.closing(execution(todo)) if todo else contextlib.nullcontext(()) as ended:
                    for found in ended:
                        records.append(out, found)
                        known[found["id"]] = found
                        _tell(bar, known)
    return known


def _known(points, out):
    """{id: record} of the points that are finished, with records and ledger each mended from the other."""
    written, known = records.ledger(out), {}
    for point in points:
        line = written.get(point["id"])
        if line and line["status"] == "done" and not records.read(point["folder"]) and records.there(point):
            records.write(point, line)  # the record was lost with the machine's power, after its line was safe
        if found := records.finished(point):
            known[point["id"]] = found
            if line != found:  # it ended, and whoever watched did not live to write it down
                records.append(out, found)
    return known


def _tell(bar, known):
    failed = sum(r["status"] == "failed" for r in known.values())
    bar.update(len(known) - bar.n)
    bar.set_postfix_str(f"{len(known) - failed} done, {failed} failed, {bar.total - len(known)} left")


def estimate(points, out):
    """(point, seconds, GiB) it may take, by what was measured: in this sweep if anything was, else, as a first guess,
    when its notebook was saved; seconds follow a straight line through what was measured by work."""
    done = [r for r in records.ledger(out).values() if r["status"] == "done"]
    for point in points:
        mine = [r for r in done if r["notebook"] == point["notebook"]] or [measured(point["notebook"])]
        x, y = np.array([[r["work"], r["seconds"]] for r in mine]).T
        slope, start = np.polyfit(x, y, 1) if len(set(x)) > 1 else (0.0, 0.0)
        if slope <= 0:  # too few to tell, since the first ones also compiled
            slope, start = y.mean() / x.mean(), 0.0
        yield point, np.maximum(1.0, start + slope * point["work"]), max(r["memory"] for r in mine)
