"""The one kind of error that a user is meant to read: a sentence saying what, why and what next."""

import difflib


class InputError(ValueError):
    """A wrong input, told in one sentence; in a notebook it shows as that sentence, without a traceback."""

    def _render_traceback_(self):
        return [f"{type(self).__name__}: {self}"]  # IPython asks the exception itself how to be shown


def unknown(kind, value, choices, *, hint=""):
    """An InputError for a misspelt name: a `kind` ("layer") of which `value` was given and `choices` exist.
    Names the nearest choices, or all of them where they are at most twelve, or the first few; hint: a last clause."""
    near = difflib.get_close_matches(str(value), choices := [str(c) for c in choices], n=3, cutoff=0.5)
    some = choices if len(choices) <= 12 else [*choices[:8], f"… ({len(choices)} in all)"]
    advice = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(some)}."
    return InputError(f"Unknown {kind} {str(value)[:80]!r}: {advice}{' ' + hint if hint else ''}")
