"""Seconds until the saliency panel answers a change of class, warm, for every method: the median of three."""

import statistics
import time

from vizlib import saliency, widgets


def answer(panel, name, value):
    begun = time.perf_counter()
    panel.controls[name].value = value
    while panel.busy.locked() or panel.wanted:
        time.sleep(0.005)
    return time.perf_counter() - begun


if __name__ == "__main__":
    panel = widgets.saliency_panel()
    for method in saliency.METHODS:
        answer(panel, "method", method)
        classes = ("tabby", "Egyptian cat", "lynx", "tiger cat")
        times = [answer(panel, "class", name) for name in classes][1:]
        print(f"{method:22} {statistics.median(times):.2f} s   {panel.status.value}", flush=True)
    print(f"{'blend':22} {answer(panel, 'blend', 0.4):.2f} s")
