"""Notebook parameters as papermill hands them over, checked: each wrong value becomes one sentence."""

import math

from vizlib.errors import InputError, unknown


def names(value, *, name="layers"):
    """A list of names from a list or from text with commas."""
    parts = _parts(value)
    if not parts or not all(isinstance(p, str | int) and p != "" for p in parts):
        raise InputError(f'{name} must be a list of names, not {value!r}; for example {name}=["a", "b"].')
    return parts


def _parts(value):
    if isinstance(value, str):  # papermill's -p hands lists over as text, as they were typed
        return [part.strip(" '\"") for part in value.strip(" []").split(",")]
    return list(value) if hasattr(value, "__iter__") else [value]


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
    parts = _parts(value)
    try:
        whole = [int(p) for p in parts if float(p) == int(float(p)) >= low and not isinstance(p, bool)]
    except (TypeError, ValueError, OverflowError):
        whole = []
    if len(whole) != len(parts) or not 0 < len(parts) <= (most or len(parts)):
        good = max(low, 200 * (low > 0))
        raise InputError(f"{name} must be a whole number of at least {low}, not {value!r}; try {name}={good}.")
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
        if part not in (*known, none):
            raise unknown(f"entry of {name}", part, ("all", none, *known))
    return tuple(k for k in known if k in names(value, name=name))
