"""The one kind of error that a user is meant to read: a sentence saying what, why and what next."""

import difflib


class InputError(ValueError):
    """A wrong input, told in one sentence; in a notebook it shows as that sentence, without a traceback."""

    def _render_traceback_(self):
        # IPython asks the exception itself how to be shown
        return [f"{type(self).__name__}: {self}"]


def unknown(kind, value, choices, *, hint=""):
    """An InputError for a misspelt name.

    kind: what is named ("layer"); value: what was given; choices: what exists (str each); hint: a last clause.
    Names the nearest choices, or all of them where they are at most twelve, or the first few.
    """
    choices = [str(c) for c in choices]
    near = difflib.get_close_matches(str(value), choices, n=3, cutoff=0.5)
    if near:
        advice = f"did you mean {' or '.join(near)}?"
    elif len(choices) <= 12:
        advice = f"choose one of {', '.join(choices)}."
    else:
        advice = f"choose one of {', '.join(choices[:8])}, … ({len(choices)} in all)."
    return InputError(f"Unknown {kind} {str(value)[:80]!r}: {advice}{' ' + hint if hint else ''}")


def positive_integer(name, value):
    """`value` as an int of at least 1; InputError, naming the parameter, for all else."""
    try:
        whole = int(value) if float(value) == int(float(value)) and not isinstance(value, bool) else 0
    except (TypeError, ValueError, OverflowError):
        whole = 0
    if whole < 1:
        raise InputError(f"{name} must be a whole number of at least 1, not {value!r}; try {name}=200.")
    return whole
