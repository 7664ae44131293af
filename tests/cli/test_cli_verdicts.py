"""When a report warns: scores no better than a guess, scores that are too good, codes that are no numbers."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import run

from gdfast.__main__ import main
from gdfast.cli.model import Model
from gdfast.cli.report import compare, leak_of, verdict
from gdfast.cli.settings import Settings
from gdfast.cli.training import prepare
from gdfast.sklearn import GDRegressor
from gdfast.tables.encoding import Encoder


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def of_classes(**scores):
    guess = {"class": "b", "accuracy": 0.7, "balanced accuracy": 0.5, "log loss": 0.6}
    return {"accuracy": 0.8, "balanced accuracy": 0.6, "log loss": 0.5, "guess": guess} | scores


def of_numbers(**scores):
    return {"r2": 0.5, "mae": 1.0, "rmse": 2.0, "guess": {"r2": 0.0, "mae": 1.5, "rmse": 3.0}} | scores


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (of_classes(), None),
        (of_classes(accuracy=0.7, **{"log loss": 0.6}), "No better than always saying 'b', the most frequent class"),
        (of_classes(accuracy=0.7), "Right no more often than always saying 'b'"),
        (of_classes(**{"log loss": 0.59999}), "Right more often than a guess, but its probabilities are no better"),
        ({k: v for k, v in of_classes(accuracy=0.7).items() if k != "log loss"}, "No better than always saying 'b'"),
        ({k: v for k, v in of_classes().items() if k != "log loss"}, None),
        (of_classes(accuracy=0.6, balanced=True), None),
        (of_classes(balanced=True, **{"balanced accuracy": 0.5}), "No better than a guess: it finds no more"),
        (of_classes(accuracy=1.0, guess=of_classes()["guess"] | {"accuracy": 1.0}), None),
        (of_numbers(), None),
        (of_numbers(rmse=3.0, mae=1.5), "No better than always saying the mean"),
        (of_numbers(rmse=3.1), "By R2 no better than always saying the mean of the training rows; only by MAE."),
        (of_numbers(mae=1.49999), "By MAE no better than always saying the median of the training rows."),
        (of_numbers(rmse=float("nan"), mae=float("nan")), "No better than always saying the mean"),
    ],
)
def test_which_score_is_no_better_is_said(found, said):
    assert (verdict(found) or "").startswith(said or "")
    assert (verdict(found) is None) == (said is None)


@pytest.mark.parametrize(
    ("scores", "columns", "said"),
    [
        ({"r2": 0.98}, ["twice"], None),
        ({"r2": float("nan")}, ["twice"], None),
        ({"r2": 1.0}, ["noise"], None),
        ({"r2": 1.0}, ["noise", "twice"], "'y' can be computed from 'twice', alone: if that is not known beforehand"),
        ({"r2": 1.0}, ["minus", "twice"], "'y' can be computed from 'minus', 'twice', each alone: if"),
    ],
)
def test_a_leak_is_named(scores, columns, said):
    y = np.arange(50.0) ** 2
    every = {"twice": 2 * y, "minus": -y, "noise": np.random.default_rng(0).random(50)}
    found = leak_of(scores, "y", {name: every[name] for name in columns}, y)
    assert found is None if said is None else found.startswith(said)


@pytest.mark.parametrize("options", [[], ["--folds", 3]])
def test_the_report_and_the_model_name_the_leak(options, capsys):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.random(200), "mark": rng.choice(["x", "z"], 200)})
    frame["paid"] = np.where(frame["mark"] == "x", "yes", "no")
    frame.to_csv("a.csv", index=False)
    shown = run(capsys, "train", "a.csv", "--target", "paid", "--out", "m", *options)
    said = (
        "beware         'paid' can be computed from 'mark', alone: if that is not known beforehand (leakage), --drop 'm"
    )
    assert said in shown
    assert said in run(capsys, "show", "m")
    assert said not in run(capsys, "evaluate", "m", "a.csv")
    shown = run(capsys, "train", "a.csv", "--target", "paid", "--out", "m", "--drop", "mark", *options)
    assert "can be computed" not in shown


def test_a_bound_that_divides_the_classes_is_named_whatever_the_scores(capsys):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((500, 6)), columns=list("abcdef"))
    weight = 2500 + 500 * rng.standard_t(1.5, 500)
    frame["low"] = np.where(weight < 2500, "yes", "no")
    frame.assign(weight=weight).to_csv("a.csv", index=False)
    shown = run(capsys, "train", "a.csv", "--target", "low", "--out", "m")
    assert "\nbeware         'low' can be computed from 'weight', alone: if that is not known beforehand" in shown
    assert " 0.99" not in shown.split("accuracy")[1].split("(")[0]
    spent = np.where(frame.low == "yes", 0.0, np.exp(3 * rng.standard_normal(500)))
    spent[np.flatnonzero(spent)[:5]] = 0.0
    frame.assign(spent=spent).to_csv("a.csv", index=False)
    shown = run(capsys, "train", "a.csv", "--target", "low", "--out", "m")
    assert "\nbeware         'low' can be told from 'spent', alone, for 9" in shown
    assert " % of the rows of each class: if that is not known beforehand (leakage), --drop 'spent'\n" in shown
    frame.to_csv("a.csv", index=False)
    assert "can be" not in run(capsys, "train", "a.csv", "--target", "low", "--out", "m")


def test_balanced_classes_are_judged_by_their_mean_recall(capsys):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(1000)
    y = np.where(x + 2 * rng.standard_normal(1000) > 3.2, "rare", "usual")
    pd.DataFrame({"x": x, "y": y}).to_csv("a.csv", index=False)
    assert "Right no more often than always saying 'usual'" in run(
        capsys, "train", "a.csv", "--target", "y", "--out", "m"
    )
    shown = run(capsys, "train", "a.csv", "--target", "y", "--out", "m", "--balanced")
    assert "mean recall" in shown
    assert "beware" not in shown
    assert Model.load(Path("m")).about["beware"] is None


def codes(rows=300):
    rng = np.random.default_rng(0)
    code = rng.choice(["01", "02", "07", "10"], rows)
    return pd.DataFrame({"code": code, "a": rng.random(rows), "y": np.where(np.isin(code, ["01", "10"]), 3.5, 1.25)})


def test_codes_are_words_in_training_and_prediction(capsys):
    codes().to_csv("a.csv", index=False)
    shown = run(capsys, "train", "a.csv", "--target", "y", "--out", "m")
    assert "'code' holds codes, such as '0" in shown
    Path("b.csv").write_text("a,code\n0.5,10\n0.5,02\n")  # of which alone one would not know
    run(capsys, "predict", "m", "b.csv", "--out", "p.csv")
    np.testing.assert_allclose(pd.read_csv("p.csv").prediction, [3.5, 1.25], atol=0.1)
    shown = run(capsys, "train", "a.csv", "--target", "y", "--out", "m", "--number", "code")
    assert "holds codes" not in shown
    assert Model.load(Path("m")).encoder.names == ["code", "a"]
    run(capsys, "predict", "m", "a.csv", "--out", "p.csv")


def test_codes_as_the_target(capsys):
    frame = codes()
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "code", "--out", "m")
    assert Model.load(Path("m")).estimator.classes_.tolist() == ["01", "02", "07", "10"]
    shown = run(capsys, "evaluate", "m", "a.csv")
    assert "accuracy" in shown
    assert "R2" in run(capsys, "train", "a.csv", "--target", "code", "--task", "regression", "--out", "m")
    assert "R2" in run(capsys, "evaluate", "m", "a.csv")


def test_numbers_that_are_none(capsys):
    codes().assign(b="x").to_csv("a.csv", index=False)
    assert main(["train", "a.csv", "--target", "y", "--number", "b"]) == 2
    assert capsys.readouterr().err == "gdfast: --number must be a column of numbers; 'b' holds 'x'\n"
    assert main(["train", "a.csv", "--target", "y", "--number", "code", "--category", "code"]) == 2
    assert "must have one of --text, --category, --number, --keep and --drop" in capsys.readouterr().err


def test_errors_too_large_to_square_are_infinite():
    found = compare(
        Model(Encoder(()), GDRegressor(), "y"), {"prediction": np.array([1e200, -1e200])}, np.array([1.0, 2.0])
    )
    assert (found["rmse"], verdict(found)) == (np.inf, "No better than always saying the mean of the training rows.")


@pytest.mark.parametrize("options", [[], ["--analyzer", "word", "--category", "n"]])
def test_ngrams_that_matter_are_named(options, capsys):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"n": rng.integers(0, 3, 200), "y": rng.choice(["good", "bad"], 200)})
    frame["note"] = np.where(frame.y == "good", "excellent phone", "terrible noise")
    frame["note"] += [f" {word}" for word in rng.choice(["on monday", "on friday"], 200)]
    frame.to_csv("a.csv", index=False)
    shown = run(capsys, "train", "a.csv", "--target", "y", "--text", "note", *options, "--out", "m")
    table = re.search(r"^matters most .*\n((?:  .+\n)+)", shown, re.MULTILINE)
    rows = table[1].splitlines()
    assert len(rows) == 10  # the last two are chance: n-grams, or with categories also a value of n
    names = [re.fullmatch(r"  note: '(.+?)' +[-0-9.]+", row)[1] for row in rows[:8]]
    assert len(set(names)) == 8
    assert all(name.strip() in "excellent phone on terrible noise on" for name in names)
    assert len([row for row in rows if row.startswith("  note: ")]) >= (9 if options else 10)
    assert f"note: {names[0]!r}" in run(capsys, "show", "m")


def test_estimators_speak_of_options(capsys):
    Path("a.csv").write_text("x,y\n" + "\n".join(f"{i * 1e3},{i * 1.5}" for i in range(50)))
    divergent = ["--model", "mlp", "--optimizer", "sgd", "--lr", "1e30", "--keep", "x"]
    assert main(["train", "a.csv", "--target", "y", *divergent]) == 2
    assert "the training diverged. Try a smaller --lr, or scale the data." in capsys.readouterr().err


def weighted():
    """Return rows of which every second has a wrong target, and weighs nothing."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.random(200), "w": [0, 2] * 100, "price": 0.0})
    frame["price"] = np.where(frame.w > 0, 3 * frame.x, 50.0)
    frame["y"] = np.where((frame.x > 0.5) == (frame.w > 0), "yes", "no")
    return frame


@pytest.mark.parametrize(
    ("target", "shown"), [("y", r"accuracy +(0\.9\d+|1\.0+) "), ("price", r"R2 +(0\.9\d+|1\.0+) ")]
)
def test_scores_of_predict_and_evaluate_take_weights(target, shown, capsys):
    frame = weighted().drop(columns="price" if target == "y" else "y")
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", target, "--weight", "w", "--out", "m", "--quiet")
    for command in (["evaluate", "m", "a.csv"], ["predict", "m", "a.csv", "--out", "p.csv"]):
        assert re.search(shown, run(capsys, *command, "--weight", "w", "--threads", 1))
        assert not re.search(shown, run(capsys, *command))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--weight", "v"], "--weight must be a column of the data, x, w, price, y; got 'v'"),
        (["--weight", "y"], "--weight must be a column of numbers of at least 0, not all of them 0; 'y' is not"),
        (["--threads", "0"], "--threads must be a whole number but not 0"),
    ],
)
@pytest.mark.parametrize("command", [["evaluate", "m", "a.csv"], ["predict", "m", "a.csv", "--out", "p.csv"]])
def test_weights_that_are_none(command, options, said, capsys):
    weighted().to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "price", "--drop", "y", "--epochs", 1, "--out", "m", "--quiet")
    assert main([*command, *options]) == 2
    assert capsys.readouterr().err.startswith(f"gdfast: {said}")
    assert not Path("p.csv").exists()


def test_rows_with_a_target_that_all_weigh_nothing(capsys):
    frame = weighted()
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "price", "--drop", "y", "--epochs", 1, "--out", "m", "--quiet")
    frame["price"] = frame["price"].where(frame.w == 0)
    frame.to_csv("b.csv", index=False)
    shown = run(capsys, "predict", "m", "b.csv", "--out", "p.csv", "--weight", "w")
    assert "no scores      --weight must be a column of numbers of at least 0, not all of them 0" in shown
    assert main(["evaluate", "m", "b.csv", "--weight", "w"]) == 2


def test_weights_and_times_that_begin_with_zeros(capsys):
    rng = np.random.default_rng(0)
    rows = [f"{x:.3f},{i % 7:02},{i * 37 % 100:03},{3 * x:.3f}" for i, x in enumerate(rng.random(100))]
    Path("a.csv").write_text("x,w,t,y\n" + "\n".join(rows))
    shown = run(capsys, "train", "a.csv", "--target", "y", "--weight", "w", "--time", "t", "--out", "m")
    assert "'w' holds codes" not in shown
    task = prepare("a.csv", Settings(target="y", weight="w", time="t"))
    assert task.all.weights.tolist() == [i % 7 for i in range(100)]
    assert sorted(task.held_out.by) == list(range(80, 100))
    assert "R2" in run(capsys, "evaluate", "m", "a.csv", "--weight", "w")


def test_a_few_words_below_numbers_are_an_error(capsys):
    rows = [f"{x:.3f},{3 * x:.3f}" for x in np.random.default_rng(0).random(80)]
    Path("a.csv").write_text("x,y\n" + "\n".join([*rows, "Total,1"]))
    assert main(["train", "a.csv", "--target", "y"]) == 2
    assert capsys.readouterr().err.startswith(
        "gdfast: column 'x' holds numbers in 80 rows, but 'Total' in row 81: correct"
    )


def test_numbers_whose_squares_are_infinite(capsys):
    Path("a.csv").write_text("x,a,y\n" + "\n".join(f"{x * 1e300},{x},{x}" for x in np.random.default_rng(0).random(80)))
    assert main(["train", "a.csv", "--target", "y", "--out", "m"]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err
    part = prepare("a.csv", Settings(target="y")).encoder.parts[0]
    np.testing.assert_allclose(part.deviations[0], 1e300 * part.deviations[1])
    np.testing.assert_allclose(part.means[0], 1e300 * part.means[1])


@pytest.mark.parametrize("odd", [-1, 7, 99])
@pytest.mark.parametrize("rest", [0, 1])
def test_classes_that_only_rows_held_out_have_are_wrong(odd, rest, capsys):
    """Also if as many classes are held out as the model knows."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.random(60), "y": np.arange(60) % 3 * 5, "when": np.arange(60.0)})
    frame.loc[59, "y"] = odd
    frame.loc[48:58, "y"] = np.arange(11) % (2 + rest) * 5
    frame.to_csv("a.csv", index=False)
    shown = run(capsys, "train", "a.csv", "--target", "y", "--time", "when", "--epochs", 2, "--out", "m")
    assert "               1 row is of classes without a row in the training: always wrong." in shown
    assert "ROC AUC" not in shown
    scores = Model.load(Path("m")).about["held out"]
    guess = (11 * np.log(3) - np.log(np.finfo(float).eps)) / 12
    assert scores["guess"]["log loss"] == pytest.approx(guess, rel=1e-3)
