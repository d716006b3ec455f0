"""What `vizlib.check` offers: a student's function held against an exercise's checks, and pictures with alt text.

The mathematics that answers are held against lies in viztools.lessons, loaded only when a check is asked for."""

import base64
import ctypes
import html
import importlib
import io
import threading

import matplotlib.pyplot as plt
from IPython.display import HTML, display

from vizlib import plots
from vizlib.errors import InputError, unknown

LIMIT = 15.0  # seconds


class NotYet(InputError):
    """What is still wrong in an exercise and what to try; makes a notebook's cell fail, without a traceback."""

    def _render_traceback_(self):
        return [f"\033[31m✗ not yet\033[0m: {self}"]


def exercise(name, *functions, limit=LIMIT):
    """Hold a student's function (some exercises ask for two) against an exercise's checks, in order; print "passed".
    limit: seconds for all of them. Raises NotYet, one sentence on what is wrong and what to try, or InputError for an
    unknown name."""
    lessons = importlib.import_module("viztools.lessons").LESSONS
    if name not in lessons:
        raise unknown("exercise", name, lessons)
    found = [f"it took more than {limit:g} s; look for a loop that does not end, or does too much."]
    # a thread, because it can be given up on every system, and in a kernel that another thread serves
    worker = threading.Thread(target=lessons[name].examine, args=(functions, found), daemon=True)
    worker.start()
    worker.join(limit)
    if worker.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident), ctypes.py_object(SystemExit))
    if found[0]:
        raise NotYet(f"{name}: {found[0]}")
    print(f"\033[32m✓ passed\033[0m: {name} ({'; '.join(title for title, _ in lessons[name].checks)})")


def show(rows, *, alt, **options):
    """Display images (list of lists, as for plots.image_grid, whose options it takes) as one picture with alt text."""
    figure, stream = plots.image_grid(rows, **options)[0, 0].figure, io.BytesIO()
    figure.savefig(stream, format="jpeg", dpi=100, bbox_inches="tight", pil_kwargs={"quality": 75})
    plt.close(figure)  # or it would be shown a second time, without alt text
    source = base64.b64encode(stream.getvalue()).decode()
    display(HTML(f'<img alt="{html.escape(alt)}" src="data:image/jpeg;base64,{source}">'))
