"""The demo: the network's gradients, the training, the same bits from both engines, the picture."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gdfast.demo import network, picture, training
from gdfast.demo import run as demo
from gdfast.demo.data import Data, load
from gdfast.demo.errors import BadOptionError, DivergedError
from gdfast.demo.settings import OPTIMIZERS, SCHEDULES, Settings
from gdfast.demo.training import arrays, differing, train

SHORT = Settings(epochs=3, quiet=True)


@pytest.fixture(scope="module")
def data() -> Data:
    return load(0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_gradients_are_those_of_the_loss():
    rng = np.random.default_rng(0)
    params = network.initial(rng, (5, 7, 3), np.float64)
    for layer in params.values():
        layer["b"] += rng.standard_normal(layer["b"].shape)
    images, labels = rng.standard_normal((11, 5)), rng.integers(3, size=11)
    _, gradients = network.loss_and_gradients(params, images, labels)
    h = 1e-6
    for layer, kinds in params.items():
        for kind, array in kinds.items():
            slopes = np.empty_like(array)
            for at in np.ndindex(array.shape):
                value = array[at]
                array[at] = value + h
                above, _ = network.loss_and_gradients(params, images, labels)
                array[at] = value - h
                below, _ = network.loss_and_gradients(params, images, labels)
                array[at] = value
                slopes[at] = (above - below) / (2 * h)
            np.testing.assert_allclose(gradients[layer][kind], slopes, rtol=1e-6, atol=1e-8)


def test_the_loss_of_equal_scores_is_the_logarithm_of_the_classes():
    params = network.initial(np.random.default_rng(0), (4, 6, 10))
    params["output"]["W"][:] = 0
    loss, _ = network.loss_and_gradients(params, np.ones((8, 4), np.float32), np.arange(8))
    assert loss == pytest.approx(np.log(10), rel=1e-6)


def test_scores_as_large_as_they_get_do_not_overflow():
    params = network.initial(np.random.default_rng(0), (4, 6, 3))
    params["output"]["b"][:] = 0, 1e30, -1e30
    loss, gradients = network.loss_and_gradients(params, np.ones((2, 4), np.float32), np.array([1, 1]))
    assert loss == 0
    assert all(np.isfinite(array).all() for layer in gradients.values() for array in layer.values())


def test_the_start_has_the_variance_of_he():
    params = network.initial(np.random.default_rng(0), (64, 128, 10))
    assert params["hidden"]["W"].std() == pytest.approx(np.sqrt(2 / 64), rel=0.05)
    assert params["output"]["W"].std() == pytest.approx(np.sqrt(2 / 128), rel=0.1)
    assert {array.dtype for layer in params.values() for array in layer.values()} == {np.dtype(np.float32)}


def test_the_data_is_split_whole_and_learned_from_the_training_images_alone(data):
    assert (data.train_images.shape, data.test_images.shape) == ((1437, 64), (360, 64))
    assert {data.train_images.dtype, data.test_images.dtype} == {np.dtype(np.float32)}
    np.testing.assert_allclose(data.train_images.mean(axis=0), 0, atol=1e-6)
    assert set(data.train_labels) == set(data.test_labels) == set(range(10))


def test_the_split_follows_the_seed(data):
    np.testing.assert_array_equal(load(0).train_labels, data.train_labels)
    assert not np.array_equal(load(1).train_labels, data.train_labels)


def test_a_short_training_learns(data):
    run = train(data, SHORT, "native")
    assert len(run.losses) == len(run.rates) == len(run.step_seconds) == 3 * 45 == run.optimizer.step_count
    assert np.mean(run.losses[-45:]) < 0.2 * np.mean(run.losses[:45])
    assert run.accuracies[-1] > 0.9
    assert 0 < run.share < 1
    assert run.seconds > 0


def test_the_last_batch_may_be_smaller(data):
    run = train(data, replace(SHORT, epochs=1, batch_size=1000), "native")
    assert len(run.losses) == 2


@pytest.mark.parametrize("seed", range(4))
def test_the_defaults_read_97_of_100_digits(seed):
    settings = Settings(seed=seed, quiet=True)
    assert train(load(seed), settings, "native").accuracies[-1] >= 0.97


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns_with_its_own_lr(optimizer, data):
    assert train(data, Settings(optimizer=optimizer, quiet=True), "native").accuracies[-1] >= 0.96


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_both_engines_leave_the_same_bytes(optimizer, data):
    settings = replace(SHORT, optimizer=optimizer)
    native, reference = (train(data, settings, engine) for engine in ("native", "numpy"))
    assert native.losses == reference.losses
    assert native.accuracies == reference.accuracies
    assert differing(arrays(native.optimizer), arrays(reference.optimizer)) == []


def test_arrays_are_all_parameters_and_states(data):
    named = arrays(train(data, replace(SHORT, epochs=1), "native").optimizer)
    assert len(named) == 4 * 3
    assert named["hidden.W/exp_avg"].shape == named["hidden.W"].shape == (64, 128)


def test_one_bit_is_a_difference():
    a = {"W": np.zeros(3, np.float32), "b": np.ones(2)}
    b = {"W": np.array([0, -0.0, 0], np.float32), "b": np.ones(2)}
    assert differing(a, a) == []
    assert differing(a, b) == ["W"]


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_rises_to_lr_and_stays_within(schedule, warmup):
    settings = Settings(schedule=schedule, warmup=warmup, lr=0.5)
    for steps in (1, 2, 3, 100):
        values = [settings.make_schedule(steps)(step) for step in range(steps)]
        assert min(values) >= 0
        assert max(values) <= 0.5
        assert steps < 100 or max(values) == pytest.approx(0.5, rel=0.05)


def test_a_training_follows_the_schedule(data):
    settings = replace(SHORT, schedule="linear", lr=0.01)
    schedule = settings.make_schedule(3 * 45)
    assert train(data, settings, "native").rates == [schedule(step) for step in range(3 * 45)]


def test_a_training_that_diverges_says_so(data):
    with pytest.raises(DivergedError, match=r"the loss became (nan|inf) after \d+ steps: try a smaller lr"):
        train(data, replace(SHORT, optimizer="sgd", lr=1e6), "native")


def test_the_bar_shows_loss_and_accuracy_on_a_terminal(data, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    train(data, replace(SHORT, epochs=1), "native")
    assert sys.stderr.getvalue() == ""
    train(data, replace(SHORT, epochs=1, quiet=False), "native")
    shown = sys.stderr.getvalue()
    assert "native" in shown
    assert "loss=" in shown
    assert "accuracy=" in shown


def test_the_report_and_the_picture(tmp_path):
    settings = replace(SHORT, out=tmp_path / "curve.png", threads=1)
    report, same = demo.run(settings)
    assert same
    for part in ("1,437 images", "64-128-10, 9,610 parameters", "135 steps", "at most 1 thread\n", "native", "numpy"):
        assert part in report
    assert "same bits      yes: 12 arrays of parameters and state, 115,320 bytes" in report
    assert max(map(len, report.removesuffix(str(settings.out)).splitlines())) <= 100
    assert png_size(settings.out) == (1200, 900)


def test_different_bits_are_reported(tmp_path, monkeypatch):
    def spoil(data: Data, settings: Settings, engine: str) -> training.Run:
        run = train(data, settings, engine)
        if engine == "numpy":
            run.optimizer.state["output.b"]["exp_avg"].view(np.uint32)[3] ^= 1
        return run

    monkeypatch.setattr(demo, "train", spoil)
    report, same = demo.run(replace(SHORT, epochs=1, out=tmp_path / "curve.png"))
    assert not same
    assert "same bits      NO: 1 of 12 arrays differ: output.b/exp_avg" in report


@pytest.mark.parametrize("epochs", [1, 60])
def test_the_picture_of_few_and_of_many_epochs(epochs, data, tmp_path):
    settings = replace(SHORT, epochs=epochs, batch_size=1437)
    picture.draw(train(data, settings, "native"), settings, tmp_path / "curve.png")
    assert png_size(tmp_path / "curve.png") == (1200, 900)


def test_a_picture_that_was_there_is_kept_until_the_new_one_is_drawn(tmp_path, monkeypatch):
    out = tmp_path / "curve.png"
    out.write_bytes(b"before")
    with pytest.raises(DivergedError):
        demo.run(replace(SHORT, optimizer="sgd", lr=1e6, out=out))
    assert out.read_bytes() == b"before"


def test_nothing_is_left_where_no_picture_is_drawn(tmp_path):
    with pytest.raises(DivergedError):
        demo.run(replace(SHORT, optimizer="sgd", lr=1e6, out=tmp_path / "curve.png"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", "lion"),
        ("schedule", "poly"),
        *(("lr", lr) for lr in (-1.0, 0.0, float("nan"), float("inf"))),
        *(("warmup", warmup) for warmup in (-0.1, 1.0, float("nan"))),
        *(("epochs", epochs) for epochs in (0, -1, 10_001)),
        *(("batch_size", size) for size in (0, -1)),
        *(("seed", seed) for seed in (-1, 2**32)),
        ("threads", 0),
        ("out", Path("curve.pdf")),
    ],
)
def test_a_bad_choice_is_named(name, value):
    with pytest.raises(BadOptionError, match=f"^{name} must be .*; got {str(value)!r}|got {value!r}$") as caught:
        Settings(**{name: value})
    assert caught.value.name == name


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    Settings(batch_size=1437).check_against(1437)
    with pytest.raises(BadOptionError, match="from 1 to 1,437, the number of training images; got 1438"):
        demo.run(replace(SHORT, batch_size=1438, out=tmp_path / "curve.png"))


def png_size(path: Path) -> tuple[int, int]:
    """Return width and height from a PNG's header."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert head[12:16] == b"IHDR"
    assert path.stat().st_size > 20_000
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
