"""The loop's promises: same seed, same image; losses fall; nothing compiles twice; runs do not disturb each other."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from vizlib import canvas, class_image, files, images, inversion, networks, objectives, optimise, recipes
from vizlib.errors import InputError


@pytest.fixture(scope="module")
def vgg():
    return networks.load("vgg16")


@pytest.fixture(scope="module")
def lite():
    return networks.load("efficientnet_lite0")


@pytest.fixture(scope="module")
def photo():
    return images.load("chelsea", size=64)


def finish(run):
    return optimise.last(run)


@pytest.mark.parametrize("recipe", recipes.INVERSION)
def test_three_steps_lower_every_inversion_loss(vgg, photo, recipe):
    first, last = inversion.invert(vgg, photo, "block2_conv2", recipe=recipe, steps=3, every=3)
    assert last.loss < first.loss and last.step == 3
    assert last.images.shape == (1, 64, 64, 3) and last.images.min() >= 0 and last.images.max() <= 1


@pytest.mark.parametrize("recipe", recipes.CLASS_IMAGE)
def test_three_steps_raise_every_class_score(lite, recipe):
    first, last = class_image.maximise(lite, "goldfish", recipe=recipe, size=64, steps=3, every=3)
    assert -last.terms["class score"] > -first.terms["class score"]
    score = lite.logits(last.image)[lite.class_index("goldfish")]
    assert np.isclose(score, -last.terms["class score"], rtol=1e-4), "reported in float32 at the very image"


def test_snapshots_at_the_start_every_k_and_at_the_end_with_terms_that_add_up(vgg, photo):
    run = list(inversion.invert(vgg, photo, "block1_conv2", steps=7, every=3))
    assert [s.step for s in run] == [0, 3, 6, 7] and all(s.steps == 7 for s in run)
    for s in run:
        assert np.isclose(sum(s.terms.values()), s.loss)
        exact = inversion.encode(vgg, s.image, "block1_conv2")
        target = inversion.encode(vgg, photo, "block1_conv2")
        error = np.sum((exact - target) ** 2) / np.sum(target**2)
        assert np.isclose(error, s.terms["feature error"], rtol=1e-3)
    kept = run[1].images.copy()
    run[2].images[:] = 0
    np.testing.assert_array_equal(run[1].images, kept)


def test_the_same_seed_gives_the_same_image_and_another_seed_another(vgg, photo):
    def image(seed):
        return finish(inversion.invert(vgg, photo, "block2_conv1", steps=4, seeds=[seed])).image

    np.testing.assert_array_equal(image(1), image(1))
    assert np.abs(image(1) - image(2)).max() > 1e-3


@pytest.mark.parametrize("recipe", ["mv2016", "pyramid"])
def test_a_batch_is_its_members_each_alone_and_its_loss_their_mean(vgg, photo, recipe):
    options = {"steps": 3, "every": 3, "precision": "float32", "recipe": recipe}
    both = finish(inversion.invert(vgg, photo, "block2_conv1", seeds=[5, 6], **options))
    alone = [finish(inversion.invert(vgg, photo, "block2_conv1", seeds=[k], **options)) for k in (5, 6)]
    for member, single in zip(both.images, alone, strict=True):
        np.testing.assert_allclose(member, single.image, atol=2e-2)
    assert np.isclose(both.loss, np.mean([s.loss for s in alone]), rtol=1e-2)


def test_knobs_compile_nothing_again(vgg, photo):
    def run(**options):
        return finish(inversion.invert(vgg, photo, "block1_conv1", every=2, **options))

    run(steps=2)
    (loop,) = [v for k, v in optimise._idle.items() if v.exact is vgg.features("block1_conv1")]
    counts = [f.experimental_get_tracing_count() for f in (loop.advance, loop.report)]
    run(steps=3, strength=0.5, seeds=[9])
    recipe = recipes.for_layer("pyramid", vgg, "block1_conv1", size=64)
    finish(inversion.invert(vgg, images.load("coffee", size=64), "block1_conv1", recipe=recipe, steps=5, every=2))
    assert counts == [f.experimental_get_tracing_count() for f in (loop.advance, loop.report)] == [1, 1]


def test_interleaved_and_broken_off_runs_do_not_disturb_each_other(vgg, photo):
    def start(seed):
        return inversion.invert(vgg, photo, "block1_conv1", steps=4, every=2, seeds=[seed])

    expected = [finish(start(seed)).image for seed in (1, 2)]
    pairs = list(zip(start(1), start(2), strict=True))
    np.testing.assert_array_equal(pairs[-1][0].image, expected[0])
    np.testing.assert_array_equal(pairs[-1][1].image, expected[1])
    for snapshot in start(3):
        if snapshot.step == 2:
            break
    np.testing.assert_array_equal(finish(start(1)).image, expected[0])


def test_interrupting_gives_the_snapshot_reached(vgg, photo):
    def interrupted():
        for snapshot in inversion.invert(vgg, photo, "block1_conv1", steps=6, every=2):
            yield snapshot
            if snapshot.step == 2:
                raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="Stopped at step 2 of 6"):
        assert finish(interrupted()).step == 2


def test_a_loss_that_is_not_finite_ends_the_run_with_the_best_image(vgg, photo):
    recipe = recipes.for_layer("mv2015", vgg, "block2_conv1", size=64)
    wild = recipes.replace(recipe, rate=1e12)
    with pytest.warns(UserWarning, match="not finite at step"):
        run = list(inversion.invert(vgg, photo, "block2_conv1", recipe=wild, steps=20, every=2))
    assert run[-1].step < 20 and np.isfinite(run[-1].images).all() and np.isfinite(run[-1].loss)


def test_a_score_that_ignores_the_image_is_told(lite):
    nothing = objectives.class_score(np.zeros((1, 1000), np.float32))
    recipe = recipes.replace(recipes.for_class("distill2017", lite, size=64), priors=objectives.Objective())
    target = 1.0 * nothing + objectives.Objective((offset(),))
    with pytest.raises(ValueError, match="gradient is zero"):
        list(optimise.run(lite.classifier(), target, recipe, size=64, steps=2))


def test_a_bound_holds_at_every_pixel_after_every_step(vgg, photo):
    short = canvas.Pixels(bound=50.0)
    recipe = recipes.Recipe("toy", "", short, ("SGD", ()), rate=1e8, steps=2)
    target = objectives.match(inversion.encode(vgg, photo, "block1_conv1"))
    for snapshot in optimise.run(vgg.features("block1_conv1"), target, recipe, size=photo.shape[0], every=1):
        assert np.linalg.norm(255 * (snapshot.image - 0.5), axis=-1).max() < 50.01
    assert np.linalg.norm(255 * (snapshot.image - 0.5), axis=-1).mean() > 25, "it was reached"


def test_a_pyramid_with_a_frame_for_its_views_shows_the_given_start(vgg, photo):
    odd = photo[:51, :51]
    recipe = recipes.Recipe("toy", "", canvas.Pyramid(), ("SGD", ()), rate=0.0, steps=1, views=(canvas.Crop(3),))
    target = objectives.match(inversion.encode(vgg, odd, "block1_conv1") + 1.0)
    for snapshot in optimise.run(vgg.features("block1_conv1"), target, recipe, size=51, start=odd[None]):
        np.testing.assert_allclose(snapshot.image, odd, atol=1e-5)


def offset():
    return objectives.Term("offset", lambda image, features, data: tf.ones(tf.shape(image)[0]))


def test_priors_alone_fade_as_the_recipe_says(vgg):
    size, start = 16, np.full((1, 16, 16, 3), 0.7, np.float32)
    ticking = objectives.Term("ticking", lambda image, features, data: tf.reduce_sum(image, axis=(1, 2, 3)))
    target = objectives.Objective((ticking,))
    recipe = recipes.Recipe("toy", "", canvas.Pixels(), ("SGD", ()), rate=1.0, steps=4,
                            priors=objectives.l2(), fade=((0.0, 3.0), (1.0, 0.0)))  # fmt: skip
    last = finish(optimise.run(vgg.features("block1_conv1"), target, recipe, size=size, start=start, strength=100.0))
    x = 255 * 0.2
    for factor in 3 * (1 - (np.arange(4) + 0.5) / 4):
        x -= 1 / 255 + factor * 100 * 2 * x / (size * size * 3)
    np.testing.assert_allclose(last.image, 0.5 + x / 255, rtol=1e-5)
    assert np.isclose(last.terms["L2"], 100 * x**2, rtol=1e-4), "reported at its own weight"


@pytest.mark.parametrize(
    ("options", "words"),
    [({"steps": 0}, "iterations"), ({"steps": -3}, "iterations"), ({"steps": 2.5}, "iterations"),
     ({"steps": "many"}, "iterations"), ({"strength": float("nan")}, "strength"), ({"strength": -1.0}, "strength"),
     ({"recipe": "mv2017"}, "did you mean mv201")],
)  # fmt: skip
def test_impossible_numbers_are_told_in_one_sentence(vgg, photo, options, words):
    with pytest.raises(ValueError, match=words) as caught:
        next(inversion.invert(vgg, photo, "block1_conv1", **options))
    assert "\n" not in str(caught.value)


def test_a_caricature_starts_at_the_image_and_exaggerates_it(vgg, photo):
    first, last = inversion.caricature(vgg, photo, "block2_conv1", steps=4, every=4)
    np.testing.assert_allclose(first.image, photo, atol=1e-5)
    assert -last.terms["caricature"] > -first.terms["caricature"] > 0.5


def test_the_estimate_grows_with_layers_and_steps(vgg, photo):
    few = inversion.estimate(vgg, photo, ["block1_conv2"], steps=10)
    more = inversion.estimate(vgg, photo, ["block1_conv2", "block2_conv2"], steps=1000)
    assert 0 < few["minutes"] < more["minutes"] and 0.1 < few["gigabytes"] < more["gigabytes"] + 0.5


def _runs(keep, **options):
    cut = networks.load("vgg16").features("block1_conv2")
    target = objectives.match(cut(tf.constant(images.load("chelsea", size=32)[None])))
    recipe = recipes.for_layer("pyramid", networks.load("vgg16"), "block1_conv2", size=32)
    return optimise.run(cut, target, recipe, **{"size": 32, "steps": 12, "every": 3, "keep": keep, **options})


def test_a_stopped_run_goes_on_to_the_very_same_image(tmp_path):
    whole = list(_runs(None))
    part = _runs(tmp_path)
    [next(part) for _ in range(3)]
    part.close()
    again = list(_runs(tmp_path))
    assert [s.step for s in again] == [s.step for s in whole] == [0, 3, 6, 9, 12]
    for one, other in zip(again, whole, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        assert one.terms == other.terms


def test_a_kept_run_computes_only_what_is_missing(tmp_path, monkeypatch):
    list(_runs(tmp_path))
    monkeypatch.setattr(optimise, "_chunks", lambda *_: pytest.fail("a finished run computed again"))
    assert list(_runs(tmp_path))[-1].step == 12


@pytest.mark.parametrize("change", [{"seeds": (1,)}, {"steps": 13}, {"strength": 2.0}, {"every": 4}])
def test_a_kept_run_belongs_to_its_parameters(tmp_path, change):
    list(_runs(tmp_path))
    list(_runs(tmp_path, **change))
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_a_damaged_state_is_begun_anew(tmp_path):
    first = optimise.last(_runs(tmp_path))
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:5000])
    np.testing.assert_array_equal(optimise.last(_runs(tmp_path)).images, first.images)


def test_a_state_that_would_unpickle_is_not_opened(tmp_path):
    np.savez(tmp_path / "evil.npz", at=np.array([{"a": 1}], dtype=object))
    assert files.read_arrays(tmp_path / "evil.npz") == {}


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        next(_runs(tmp_path / "file"))


KILLED = """
import sys
sys.path.insert(0, {tests!r})
import test_loop
for s in test_loop._runs({keep!r}, steps=400, every=100):
    print(s.step, flush=True)
"""


def test_a_killed_process_loses_seconds_and_ends_at_the_same_image(tmp_path, monkeypatch):
    script = KILLED.format(tests=str(Path(__file__).parent), keep=str(tmp_path / "killed"))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    while process.stdout.readline().strip() != "200":
        assert process.poll() is None
    process.kill()
    process.wait()
    (state,) = (tmp_path / "killed").glob("*.npz")
    assert files.read_arrays(state)["at"] >= 100
    again, whole = (optimise.last(_runs(k, steps=400, every=100)) for k in (tmp_path / "killed", None))
    np.testing.assert_array_equal(again.images, whole.images)
