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


def numbers(name, value):
    """A list of whole numbers of at least 0 from a number, a list, or text with commas."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    try:
        whole = [int(p) for p in parts if float(p) == int(float(p)) >= 0]
    except (TypeError, ValueError, OverflowError):
        whole = []
    if not parts or len(whole) != len(parts):
        raise InputError(f"{name} must be whole numbers of at least 0, not {value!r}; try {name}=[0].")
    return whole


def switch(name, value):
    """True or False, also from papermill's text "true", "false"."""
    known = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
    if str(value).lower() not in known:
        raise InputError(f"{name} must be True or False, not {value!r}.")
    return known[str(value).lower()]


def choices(name, value, known, *, none):
    """Which of `known` a value names: "all", `none` for none of them, a list, or text with commas."""
    if value in ("all", none):
        return known if value == "all" else ()
    for part in names(value, name=name):
        if part not in known:
            raise unknown(f"entry of {name}", part, ("all", none, *known))
    return tuple(k for k in known if k in names(value, name=name))


def positive_integer(name, value):
    """`value` as an int of at least 1; InputError, naming the parameter, for all else."""
    try:
        whole = int(value) if float(value) == int(float(value)) and not isinstance(value, bool) else 0
    except (TypeError, ValueError, OverflowError):
        whole = 0
    if whole < 1:
        raise InputError(f"{name} must be a whole number of at least 1, not {value!r}; try {name}=200.")
    return whole
