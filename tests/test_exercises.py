"""Exercises: their form, checks that know right from wrong and name mistakes, students' notebooks as generated."""

import ast
import re
import threading
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from scipy.special import expit
from scipy.stats import rankdata

from vizlib import check
from vizlib.backend import tf
from vizlib.errors import InputError
from viztools import commands, exercises, lessons

ROOT = Path(__file__).resolve().parents[1]
SOLUTIONS = {p.stem[:3]: p for p in sorted((ROOT / "notebooks/solutions").glob("e*.ipynb"))}
EXERCISES = {p.stem[:3]: p for p in sorted((ROOT / "notebooks/exercises").glob("e*.ipynb"))}
each = pytest.mark.parametrize("name", SOLUTIONS)
INNER = (1, 2, 3)


def read(path):
    return {c.id: c for c in nbformat.read(path, 4).cells}


def solved(name):
    """The functions of a solution, in the order in which they are checked."""
    cells, names = read(SOLUTIONS[name]), {"np": np, "tf": tf}
    exec(cells[f"{name}-solution"].source, names)
    return [names[f.strip()] for f in re.search(r'", (.*)\)', cells[f"{name}-check"].source)[1].split(",")]


def refused(name, *functions, **options):
    with pytest.raises(check.NotYet) as told:
        check.exercise(name, *functions, **options)
    assert str(told.value).startswith(f"{name}: ") and "\n" not in str(told.value)
    return str(told.value)


def test_enough_for_both_papers_and_every_lesson_has_its_notebook():
    texts = [read(p)[f"{n}-title"].source for n, p in SOLUTIONS.items()]
    assert len(texts) >= 8 and set(SOLUTIONS) == set(EXERCISES) == set(lessons.LESSONS)
    assert min(sum(paper in t for t in texts) for paper in ("Simonyan", "Mahendran")) >= 4


@each
def test_form(name):
    cells = read(EXERCISES[name])
    title = cells[f"{name}-title"].source
    for line in ("You will do", "You will learn", "You need", "Time"):
        assert f"**{line}:**" in title
    assert 5 <= int(re.search(r"about (\d+) minutes", title)[1]) <= 20
    assert "$$" in cells[f"{name}-formula"].source or "\n    layer above" in cells[f"{name}-formula"].source
    assert cells[f"{name}-hint"].source.startswith("<details>\n<summary>Hint</summary>\n\n")
    assert cells[f"{name}-question"].source.startswith("## What would you see if …")
    assert len(read(SOLUTIONS[name])[f"{name}-solution"].source.splitlines()) <= 15
    code = [c for c in cells.values() if c.cell_type == "code"]
    assert max(len(c.source.splitlines()) for c in code) <= 25
    assert max(len(line) for c in code for line in c.source.splitlines()) <= 120
    grading = {i: c.metadata.nbgrader for i, c in cells.items() if "nbgrader" in c.metadata}
    assert set(grading) == {f"{name}-{part}" for part in ("solution", "check", "answer")}
    assert grading[f"{name}-check"].locked and grading[f"{name}-check"].points == 5


def test_the_guide_tells_each_exercises_minutes_and_its_cost():
    guide = (EXERCISES["e01"].parent / "README.md").read_text()
    rows = re.findall(
        r"^\| \[\d+\. .*?\]\((e\d\d)\w+\.ipynb\) \| (\d+) \| ([\d.]+) \| (\d+) \| \S.{20,} \|$", guide, re.M
    )
    assert [row[0] for row in rows] == list(SOLUTIONS)
    for name, minutes, seconds, megabytes in rows:
        assert f"about {minutes} minutes" in read(EXERCISES[name])[f"{name}-title"].source
        assert float(seconds) <= 15 and int(megabytes) < 1500
    assert len(re.findall(r"^\| [\w ,]+ \| [^|]+ \|$", guide.split("## Words")[1], re.M)) >= 12


@each
def test_every_picture_has_alt_text_and_every_solution_is_stored_green(name):
    cells = read(SOLUTIONS[name])
    outputs = [o for c in cells.values() if c.cell_type == "code" for o in c.outputs]
    assert not any(o.output_type == "error" or o.get("name") == "stderr" for o in outputs)
    assert not {k for o in outputs for k in o.get("data", {}) if k.startswith("image/")}, "a picture without alt text"
    pages = ["".join(o.data["text/html"]) for o in outputs if "text/html" in o.get("data", {})]
    pictures = re.findall("<img [^>]*>", " ".join(pages))
    assert pictures and all(len(re.search('alt="([^"]+)"', p)[1]) > 40 for p in pictures)
    assert "✓ passed" in cells[f"{name}-check"].outputs[0].text
    assert "![" not in " ".join(c.source for c in cells.values()).replace("![]", "")


@each
def test_the_right_solution_passes_again_and_again(name, capsys):
    for _ in range(5):
        check.exercise(name, *solved(name))
    assert capsys.readouterr().out.count(f"passed\033[0m: {name} (") == 5


def constant(value):
    return lambda *given: value


def zeros(first):
    """Zeros of the shape that the right solution gives."""

    def answer(*given):
        found = first(*given)
        return tuple(0.0 * f for f in found) if isinstance(found, tuple) else 0.0 * found

    return answer


@each
def test_stubs_constants_and_the_input_itself_do_not_pass(name):
    right = solved(name)
    for others in ([], right[1:]):
        for answer in (constant(None), constant(0.0), constant(1), constant("no"), zeros(right[0]), lambda *x: x[0]):
            refused(name, *([answer] * len(right) if not others else [answer, *others]))
    if len(right) == 2:
        for answer in (constant(None), constant(0.0), constant(1.0), lambda *x: x[1]):
            refused(name, right[0], answer)


@each
def test_answers_recorded_from_a_right_run_do_not_pass(name):
    record = [[] for _ in solved(name)]

    def recording(function, kept):
        return lambda *given: kept.append(function(*given)) or kept[-1]

    check.exercise(name, *(recording(f, k) for f, k in zip(solved(name), record, strict=True)))
    for _ in range(10):
        refused(name, *[lambda *given, left=iter(kept): next(left) for kept in record])


@each
def test_what_is_not_written_yet_gets_the_hint(name):
    namespace = {"np": np, "tf": tf}
    exec(read(EXERCISES[name])[f"{name}-solution"].source, namespace)
    empty = [namespace[f.__name__] for f in solved(name)]
    assert refused(name, *empty) == f"{name}: nothing is written yet; a hint: {lessons.LESSONS[name].hint}"


def slope(score, image):
    x = tf.constant(image[None])
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = score(x)
    return tape.gradient(value, x)[0].numpy()


def climb(score, image, epsilon, steps, *, move=np.sign, bound=True, fit=True, up=1, anew=True):
    x, w = image, slope(score, image)
    for _ in range(steps):
        x = x + up * np.float32(epsilon / 4) * move(slope(score, x) if anew else w)
        x = np.clip(x, image - epsilon, image + epsilon) if bound else x
        x = np.clip(x, 0, 1) if fit else x
    return x


def place_of(saliency, side, best=np.argmax):
    sums = np.lib.stride_tricks.sliding_window_view(saliency, (side, side)).sum(axis=(2, 3))
    return np.array(np.unravel_index(best(sums), sums.shape))


def centred(a):
    return a - a.mean()


def cosine(a, b):
    return np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))


def ranks(a):
    return rankdata(a).ravel()


def bordered(x):
    return tf.pad(x[:, 1:] - x[:, :-1], [[0, 0], [0, 1], [0, 0]]), tf.pad(x[1:] - x[:-1], [[0, 1], [0, 0], [0, 0]])


def wrapped(x, beta):
    return tf.reduce_sum(sum((tf.roll(x, -1, axis) - x) ** 2 for axis in (0, 1)) ** (beta / 2))


def of_squares(power, reduce=tf.reduce_sum):
    return lambda x, beta: reduce((bordered(x)[0] ** 2 + bordered(x)[1] ** 2) ** power(beta))


def inside(x, beta):
    dx, dy = x[:-1, 1:] - x[:-1, :-1], x[1:, :-1] - x[:-1, :-1]
    return tf.reduce_sum((dx**2 + dy**2) ** (beta / 2))


def one(axes):
    return lambda x, beta: tf.add_n([tf.reduce_sum(tf.abs(bordered(x)[k]) ** beta) for k in axes])


def moved(f, x, place, by):
    other = x.copy()
    other[place] += by
    return f(other)


def changes_it(f, x, place, h):
    x[place] += h
    up = f(x)
    x[place] -= 2 * h
    return (up - f(x)) / (2 * h)


def walk(layers, cells, order=reversed, step=lambda n, k, s: (n - 1) * s + k):
    for kernel, stride in order(layers):
        cells = step(cells, kernel, stride)
    return cells


def own_stride(layers, cells):
    side, jump = 1, 1
    for kernel, stride in layers:
        jump *= stride
        side += (kernel - 1) * jump
    return side + (cells - 1) * jump


def cut(m, high, low):
    return np.where(m >= high, 1, np.where(m <= low, -1, 0))


def quantiles(m, f, b):
    return cut(m, *np.quantile(m, (f, b)))


P = tf.nn.softmax
total = lambda x: tf.reduce_sum(x, axis=INNER)
size = lambda s, x: np.abs(slope(s, x))
tv = of_squares(lambda beta: beta / 2)
error = lambda c, t: total((c - t) ** 2)

# what each exercise's students are known to write, and by what words it is told
MISTAKES = {
    "e01": [
        (lambda z, c: (P(z)[:, c], P(z)[:, c]), "is the softmax probability, not the logit"),
        (lambda z, c: (tf.nn.log_softmax(z)[:, c], P(z)[:, c]), "is the log-probability, not the logit"),
        (lambda z, c: (-z[:, c], P(z)[:, c]), "is minimised, not maximised"),
        (lambda z, c: (tf.reduce_max(z, axis=1), P(z)[:, c]), "largest score of each image"),
        (lambda z, c: (z[:, c], expit(z[:, c])), "sigmoid of one logit"),
        (lambda z, c: (z[:, c], P(z, axis=0)[:, c]), "over the images instead of the classes"),
        (lambda z, c: (z[:, c], tf.nn.log_softmax(z)[:, c]), "logarithm of the probability"),
        (lambda z, c: (z[:, c], tf.exp(z[:, c])), "not yet a share of the sum"),
        (lambda z, c: (z[:, c], z[:, c]), "the second answer is the logit itself"),
        (lambda z, c: (z[:, c], (tf.exp(z) / tf.reduce_sum(tf.exp(z), 1, keepdims=True))[:, c]), "an overflow"),
        (lambda z, c: (z[:, c] + 1, P(z)[:, c]), "which axis counts the classes"),
        (lambda z, c: (z[:, c], P(z / 2)[:, c]), "add up to 1"),
        (lambda z, c: (z[:, c] - tf.stop_gradient(z[:, c] - z[:, c]), tf.constant(P(z).numpy()[:, c])), "is lost"),
        (lambda z, c: (z[:, c], P(tf.stop_gradient(z) + 0 * z)[:, c]), "their gradients are not"),
        (lambda z, c: z[:, c], "two answers are wanted"),
        (lambda z, c: (z[c], P(z)[c]), "has shape (7,), wanted is (5,)"),
    ],
    "e02": [
        (lambda s, x: slope(s, x).max(-1), "the absolute value is missing"),
        (lambda s, x: np.abs(slope(s, x).max(-1)), "the absolute value comes too late"),
        (lambda s, x: size(s, x).mean(-1), "mean over channels instead of the maximum"),
        (lambda s, x: size(s, x).sum(-1), "sum over channels instead of the maximum"),
        (lambda s, x: np.linalg.norm(slope(s, x), axis=-1), "length of the three channels"),
        (lambda s, x: np.abs(slope(s, x).mean(-1)), "averaged before the absolute value"),
        (lambda s, x: np.abs(slope(s, x) * x).max(-1), "multiplied by the image"),
        (lambda s, x: (lambda m: (m - m.min()) / np.ptp(m))(size(s, x).max(-1)), "min–max"),
        (lambda s, x: size(s, x).max(-1) / size(s, x).max(), "divided by its largest value"),
        (lambda s, x: size(s, x).max(-1) + 1, "is not the formula's"),
        (lambda s, x: size(s, 0 * x).max(-1), "at this very image"),
        (lambda s, x: size(s, x), "has shape (8, 11, 3), wanted is (8, 11)"),
        (lambda s, x: tf.constant(size(s, x).max(-1)), "is a tensor, and a NumPy array is wanted"),
    ],
    "e03": [
        (lambda x, a: total(tf.abs(x) ** a) ** (1 / a), "this is the ℓ6 norm, not its sixth power"),
        (lambda x, a: tf.reduce_mean(tf.abs(x) ** a, axis=INNER), "the mean over the values, not their sum"),
        (lambda x, a: total(tf.sign(x) * tf.abs(x) ** a), "the absolute value is missing"),
        (lambda x, a: total(x**2), "squared ℓ2 norm"),
        (lambda x, a: total(x**6), "alpha is ignored"),
        (lambda x, a: total(tf.abs(x) ** a) ** (2 / a), "square of the norm, not its α-th power"),
        (lambda x, a: tf.reduce_sum(tf.abs(x) ** a), "has shape (), wanted is (3,)"),
        (lambda x, a: 1 + total(tf.abs(x) ** a) * 1.1, "it is not Σ |x|^α"),
        (lambda x, a: np.sum(np.abs(x) ** a, axis=INNER), "is lost"),
        (lambda x, a: total(tf.abs(0.5 * x + tf.stop_gradient(0.5 * x)) ** a), "its gradient is not that"),
    ],
    "e04": [
        (lambda *a: climb(*a, up=-1), "is minimised, not maximised"),
        (lambda *a: climb(*a, bound=False), "the steps add up beyond ε"),
        (lambda *a: climb(*a, fit=False), "left the range from 0 to 1"),
        (lambda *a: climb(*a, bound=False, fit=False), "neither ε nor the range"),
        (lambda s, x, e, n: climb(s, x, e, 1), "only one step was taken"),
        (lambda *a: climb(*a, move=lambda w: w), "the gradient itself was added"),
        (lambda *a: climb(*a, anew=False), "take the gradient anew"),
        (lambda *a: 0.99 * climb(*a), "as far as it may"),
        (lambda s, x, e, n: np.clip(climb(s, x, e, n, bound=False), x - e, x + e), "clip inside the loop"),
        (lambda *a: tf.constant(climb(*a)), "is a tensor, and a NumPy array is wanted"),
    ],
    "e05": [
        (lambda m, s: place_of(m, s)[::-1], "row and column are swapped"),
        (lambda m, s: np.unravel_index(m.argmax(), m.shape), "brightest pixel, not the brightest window"),
        (lambda m, s: place_of(m, s) + s // 2, "the window's middle"),
        (lambda m, s: place_of(m, s) + s - 1, "the window's last corner"),
        (lambda m, s: place_of(m, s, np.argmin), "the darkest window"),
        (lambda m, s: place_of(m[:-1, :-1], s), "a patch in a corner is missed"),
        (lambda m, s: (99, 99), "another window has a larger sum"),
    ],
    "e06": [
        (lambda a, b: cosine(centred(a), centred(b)), "correlation of the values, not of their ranks"),
        (lambda a, b: cosine(*(centred(np.argsort(m, None)) for m in (a, b))), "one argsort gives the order"),
        (lambda a, b: cosine(ranks(a) - 1, ranks(b) - 1), "not taken away; subtract it first"),
        (lambda a, b: cosine(ranks(a), ranks(b)), "not taken away; subtract it before"),
        (lambda a, b: -cosine(centred(ranks(a)), centred(ranks(b))), "the sign is turned round"),
        (lambda a, b: np.sum(centred(ranks(a)) * centred(ranks(b))), "differs from the rank correlation"),
    ],
    "e07": [
        (lambda c, t: tf.sqrt(error(c, t) / tf.reduce_sum(t**2)), "the squares are missing"),
        (lambda c, t: error(c, t), "it is not divided by"),
        (lambda c, t: tf.reduce_mean((c - t) ** 2, axis=INNER), "the mean of squares"),
        (lambda c, t: error(c, t) / tf.norm(t), "divided by the norm, not by its square"),
        (lambda c, t: error(c, t) / total(c**2), "which moves with the image"),
        (lambda c, t: total(tf.abs(c - t)) / tf.reduce_sum(tf.abs(t)), "absolute values stand where squares"),
        (lambda c, t: 1 - error(c, t) / tf.reduce_sum(t**2), "one minus the error"),
        (lambda c, t: 2 * error(c, t) / tf.reduce_sum(t**2), "not the formula's value"),
        (lambda c, t: tf.reduce_sum((c - t) ** 2) / tf.reduce_sum(t**2), "has shape (), wanted is (3,)"),
        (lambda c, t: error(tf.stop_gradient(c) + 0 * c, t) / tf.reduce_sum(t**2), "its gradient is not that"),
    ],
    "e08": [
        (wrapped, "np.roll wraps round"),
        (inside, "last row and column are left out"),
        (one([0]), "only differences along rows count"),
        (one([1]), "only differences along columns count"),
        (one([0, 1]), "raised to β each by itself"),
        (of_squares(lambda beta: beta), "the exponent is β, not β/2"),
        (of_squares(lambda beta: 1.0), "the power β/2 is missing"),
        (of_squares(lambda beta: beta / 2, tf.reduce_mean), "this is the mean, not the sum"),
        (lambda x, beta: 2 * tv(x, beta), "it is not the formula's value"),
        (lambda x, beta: tv(0.5 * x + tf.stop_gradient(0.5 * x), beta), "its gradient is not that"),
    ],
    "e08 slope": [
        (lambda f, x, p, h: (moved(f, x, p, h) - moved(f, x, p, -h)) / h, "divided by h, but the two points"),
        (lambda f, x, p, h: (moved(f, x, p, -h) - moved(f, x, p, h)) / (2 * h), "the slope has the wrong sign"),
        (lambda f, x, p, h: (moved(f, x, p, h) - f(x)) / h, "one-sided difference; one step up"),
        (lambda f, x, p, h: (f(x) - moved(f, x, p, -h)) / h, "one-sided difference, downwards"),
        (lambda f, x, p, h: moved(f, x, p, h) - moved(f, x, p, -h), "not divided by the distance"),
        (changes_it, "the image came back changed"),
        (lambda f, x, p, h: f(x), "not the central difference"),
    ],
    "e09": [
        (lambda layers, n: walk(layers, 1), "`cells` is ignored"),
        (lambda layers, n: n * walk(layers, 1), "yours lie side by side"),
        (lambda layers, n: walk(layers, n, step=lambda n, k, s: n + k - 1), "`stride` pixels apart, not one"),
        (lambda layers, n: walk(layers, n, order=list), "in the wrong order"),
        (lambda layers, n: n + sum(k - 1 for k, _ in layers) if len(layers) > 1 else walk(layers, n), "multiplied up"),
        (lambda layers, n: own_stride(layers, n) if len(layers) > 1 else walk(layers, n), "a layer's own stride"),
        (lambda layers, n: np.prod([k for k, _ in layers]) if len(layers) > 1 else walk(layers, n), "are multiplied"),
        (lambda layers, n: walk(layers[-1:], n), "only the last layer was counted"),
        (lambda layers, n: walk(layers, n) + 17, "not what a drawing gives"),
        (lambda layers, n: walk(layers, n) + 999 * (len(layers) > 1), "following every connection"),
    ],
    "e10": [
        (lambda m, f, b: -quantiles(m, f, b), "+1 and −1 are swapped"),
        (lambda m, f, b: cut(m, f * m.max(), b * m.max()), "shares of the largest value"),
        (lambda m, f, b: cut(m, *np.percentile(m, (f, b))), "read as per cent"),
        (lambda m, f, b: quantiles(m, f, b) + 1, "the background is marked 0"),
        (lambda m, f, b: np.maximum(quantiles(m, f, b), 0), "the background is not marked"),
        (lambda m, f, b: np.minimum(quantiles(m, f, b), 0), "the object is not marked"),
        (lambda m, f, b: quantiles(m, b, f), "count how many pixels"),
    ],
}
ROWS = [(n, f, w) for n, rows in MISTAKES.items() for f, w in rows]


@pytest.mark.parametrize(("name", "mistake", "words"), ROWS, ids=[f"{n}-{w}" for n, _, w in ROWS])
def test_known_mistakes_are_told_by_name(name, mistake, words):
    functions = [mistake, *solved("e08")[1:]] if name == "e08" else [mistake]
    functions = [solved("e08")[0], mistake] if name == "e08 slope" else functions
    for _ in range(3):
        assert words in refused(name[:3], *functions)


def test_every_sentence_about_a_mistake_is_tried():
    sources = [ast.parse(p.read_text()) for p in (ROOT / "viztools/lessons").glob("*.py")]
    tables = [d for tree in sources for d in ast.walk(tree) if isinstance(d, ast.Dict)]
    text = lambda key: "".join(v.value if isinstance(v, ast.Constant) else "…" for v in getattr(key, "values", [key]))
    sentences = [text(key) for table in tables for key in table.keys]
    tried = [w.replace("ℓ6", "ℓ…").replace("sixth", "…") for _, _, w in ROWS]
    assert len(sentences) > 50
    assert not [s for s in sentences if not any(w in s for w in tried)]


def test_what_never_ends_is_given_up_and_stopped():
    inside = []

    def hangs(logits, index):
        inside.append(threading.current_thread())
        while True:
            time.sleep(0.01)

    begun = time.perf_counter()
    assert "it took more than 0.5 s" in refused("e01", hangs, limit=0.5)
    assert time.perf_counter() - begun < 2 and check.LIMIT == 15
    inside[0].join(2)
    assert not inside[0].is_alive()


def test_an_error_of_the_students_code_is_told_with_its_line():
    def divides(code, target):
        return code / len(target.shapes)

    told = refused("e07", divides)
    assert "your code stopped at `return code / len(target.shapes)` with AttributeError: " in told
    assert "SystemExit" in refused("e07", lambda code, target: exit())


def test_no_traceback_and_no_exercise_of_that_name():
    try:
        check.exercise("e01", constant(None))
    except check.NotYet as wrong:
        (line,) = wrong._render_traceback_()
        assert "✗ not yet" in line and "e01: check 1 of 4, class score: two answers are wanted" in line
    with pytest.raises(InputError, match="did you mean e"):
        check.exercise("e0", constant(None))


def test_generated_anew_nothing_differs(tmp_path, capsys):
    (tmp_path / "e99_mine.ipynb").write_text("{}")  # stays, as it is somebody else's
    given = ["exercises", "--solutions", str(SOLUTIONS["e01"].parent), "--out", str(tmp_path)]
    assert commands.main(given) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(SOLUTIONS)
    made = {p.name: p.read_bytes() for p in tmp_path.glob("*.ipynb")}
    assert made.pop("e99_mine.ipynb") == b"{}"
    assert {p.name for p in EXERCISES["e01"].parent.glob("e*.ipynb")} == {p.name for p in SOLUTIONS.values()}
    assert made == {p.name: p.read_bytes() for p in EXERCISES.values()}, "run python -m vizlib exercises"
    assert commands.main([*given[:2], str(tmp_path / "none"), *given[3:]]) == 2


def test_solutions_are_not_written_over(tmp_path, capsys):
    solved = tmp_path / "e01_mine.ipynb"
    solved.write_bytes(SOLUTIONS["e01"].read_bytes())
    assert commands.main(["exercises", "--solutions", str(tmp_path), "--out", f"{tmp_path}/."]) == 2
    assert "holds the solutions" in capsys.readouterr().err
    assert solved.read_bytes() == SOLUTIONS["e01"].read_bytes()


def test_solved_cells_must_be_marked():
    notebook = nbformat.read(SOLUTIONS["e01"], 4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("### END SOLUTION", "")
    with pytest.raises(InputError, match="e01-solution needs ### BEGIN SOLUTION"):
        exercises.student(notebook)


def test_nothing_gives_the_solutions_away():
    folder = EXERCISES["e01"].parent
    handed_out = [p.read_text() for p in folder.rglob("*.*")]
    assert not [text for text in handed_out if re.search(r"solutions?/|\.\./|BEGIN SOLUTION", text)]
    told = handed_out + [p.read_text() for p in (*(ROOT / "viztools").rglob("*.py"), ROOT / "vizlib/check.py")]
    for name, path in SOLUTIONS.items():
        cells = read(path)
        body = re.findall(r"### BEGIN SOLUTION\n(.*?)### END", cells[f"{name}-solution"].source, re.S)
        lines = [line.strip() for part in body for line in part.splitlines() if len(line.strip()) > 24]
        lines += [s for s in re.split(r"(?<=\.) ", cells[f"{name}-answer"].source) if len(s) > 24]
        lines = [line for line in lines if "GradientTape() as tape" not in line]
        assert lines and not [line for line in lines for text in told if line in text]


@each
def test_unsolved_it_runs_to_the_check_and_fails_there_with_the_hint(name):
    notebook = nbformat.read(EXERCISES[name], 4)
    with pytest.raises(CellExecutionError):
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    failed = [c for c in notebook.cells if c.cell_type == "code" and any(o.output_type == "error" for o in c.outputs)]
    assert [c.id for c in failed] == [f"{name}-check"]
    (output,) = failed[0].outputs
    assert len(output.traceback) == 1 and lessons.LESSONS[name].hint in output.traceback[0]


def test_pictures_are_shown_once_with_their_alt_text_escaped(monkeypatch):
    shown = []
    monkeypatch.setattr("viztools.examine.display", lambda page: shown.append(page.data))
    before = check.plt.get_fignums()
    check.show([[np.zeros((8, 8, 3))]], alt='a "black" square <8 px>', titles=["x"])
    (page,) = shown
    assert page.startswith('<img alt="a &quot;black&quot; square &lt;8 px&gt;" src="data:image/jpeg;base64,')
    assert check.plt.get_fignums() == before
