"""The mathematics of the exercises: `LESSONS["e02"]` has a first hint and its checks, in order.

A check takes the student's function and raises NotYet where the answer is wrong. Inputs are drawn anew every time, so
that no stored answer passes; known mistakes are told by name, and the answer by none."""

from viztools.lessons import inversion, scores  # noqa: F401 - they enter their checks
from viztools.lessons.register import LESSONS  # noqa: F401
