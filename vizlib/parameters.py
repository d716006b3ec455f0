"""Notebook parameters as papermill hands them over, checked: each wrong value becomes one sentence."""

import math

from vizlib.errors import InputError, unknown


def names(value, *, name="layers"):
    """A list of names from a list or from text with commas."""
    parts = value.split(",") if isinstance(value, str) else list(value) if hasattr(value, "__iter__") else [value]
    parts = [p.strip() if isinstance(p, str) else p for p in parts]
    if not parts or not all(isinstance(p, str | int) and p != "" for p in parts):
        raise InputError(f'{name} must be a list of names, not {value!r}; for example {name}=["a", "b"].')
    return parts


def number(name, value, *, low=0.0, high=math.inf):
    """A finite float within [low, high]."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = math.nan
    if not (math.isfinite(result) and low <= result <= high):
        limit = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
        raise InputError(f"{name} must be a number {limit}, not {value!r}; try {name}={max(low, min(1.0, high)):g}.")
    return result


def numbers(name, value, *, low=0, most=None):
    """A list of at most so many whole numbers of at least `low` from a number, a list, or text with commas."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    try:
        whole = [int(p) for p in parts if float(p) == int(float(p)) >= low and not isinstance(p, bool)]
    except (TypeError, ValueError, OverflowError):
        whole = []
    if len(whole) != len(parts) or not 0 < len(parts) <= (most or len(parts)):
        raise InputError(f"{name} must be a whole number of at least {low}, not {value!r}; try {name}={200 * low}.")
    return whole


def positive_integer(name, value):
    """`value` as an int of at least 1; InputError, naming the parameter, for all else."""
    return numbers(name, value, low=1, most=1)[0]


def switch(name, value):
    """True or False, also from papermill's text "true", "false"."""
    said = str(value).lower()
    if said not in ("true", "1", "yes", "false", "0", "no"):
        raise InputError(f"{name} must be True or False, not {value!r}.")
    return said in ("true", "1", "yes")


def choices(name, value, known, *, none):
    """Which of `known` a value names: "all", `none` for none of them, a list, or text with commas."""
    if value in ("all", none):
        return known if value == "all" else ()
    for part in names(value, name=name):
        if part not in known:
            raise unknown(f"entry of {name}", part, ("all", none, *known))
    return tuple(k for k in known if k in names(value, name=name))
