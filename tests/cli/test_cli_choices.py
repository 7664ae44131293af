"""What training and prediction must not do in silence: every choice is said, and every wrong answer refused."""

import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import mistake, run

from gdfast.cli.model import Model
from gdfast.cli.settings import Settings
from gdfast.cli.training import prepare, train

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "RNG", np.random.default_rng(0))  # the same data in any order of the tests
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shop(rows=300):
    """Return a table from which `y` follows, and a column for each way to split it."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.random(rows), "b": rng.choice(["x", "z", "w"], rows), "c": rng.random(rows)})
    frame["day"] = rng.permutation(rows) / 4
    frame["who"] = rng.integers(0, 30, rows)
    frame["n"] = rng.integers(0, 3, rows)
    frame["y"] = np.where(frame.a + 0.5 * (frame.b == "x") > 0.7, "yes", "no")
    frame["price"] = 3 * frame.a + frame.c
    return frame


def test_a_target_with_decimal_commas_is_a_number(capsys):
    rows = [f"{x:.3f};{2 * x + 1:.2f}".replace(".", ",") for x in RNG.random(300)]
    Path("a.csv").write_text("x;y\n" + "\n".join(rows))
    shown = run(capsys, "train", "a.csv", "--target", "y", "--out", "run")
    assert "GDRegressor" in shown
    assert Model.load(Path("run")).about["held out"]["r2"] > 0.99
    Path("new.csv").write_text('x,"y"\n"0,500","2,00"\n"0,250","1,50"\n')
    run(capsys, "predict", "run", "new.csv", "--out", "p.csv")
    np.testing.assert_allclose(pd.read_csv("p.csv").prediction, [2, 1.5], atol=0.05)


def test_a_target_in_dollars_is_a_number(capsys):
    Path("a.csv").write_text("x,y\n" + "\n".join(f"{x:.3f},${x + 3:.3f}" for x in RNG.random(60)))
    assert "'y' is read as numbers, '$" in run(capsys, "train", "a.csv", "--target", "y", "--out", "run")


def test_too_many_words_are_no_classes(capsys):
    pd.DataFrame({"x": RNG.random(90), "y": [f"w{i % 60}" for i in range(90)]}).to_csv("a.csv", index=False)
    said = mistake(capsys, "train", "a.csv", "--target", "y")
    assert said.startswith(
        "--target must hold numbers or classes; 'y' holds 60 different words in 90 rows, such as 'w0'"
    )
    chosen = [*["train", "a.csv", "--target", "y", "--task", "classification", "--epochs", "1", "--out", "m"]]
    assert "classes are too many to list them here" in run(capsys, *chosen, "--test-size", 0.7)


@pytest.mark.parametrize("target", ["y", "z"])
def test_a_model_that_is_no_better_than_a_guess_says_so(target, capsys):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({f"x{i}": rng.random(60) for i in range(20)})
    frame["y"], frame["z"] = np.where(rng.random(60) < 0.3, "a", "b"), rng.random(60)
    frame.drop(columns="z" if target == "y" else "y").to_csv("a.csv", index=False)
    shown = run(capsys, "train", "a.csv", "--target", target, "--penalty", "none", "--seed", 3, "--out", "run")
    model = Model.load(Path("run"))
    assert ("No better than" in shown) == (model.about["beware"] is not None)
    assert model.about["beware"].startswith("No better than always saying ")
    assert model.about["beware"] in run(capsys, "show", "run")


def test_row_numbers_do_not_tell_the_species(capsys):
    frame = pd.DataFrame({"rownames": range(1, 201), "empty": None, "one": 1, "x": RNG.random(200)})
    frame["id"] = [f"K-{i:05}" for i in range(200)]
    frame["species"] = np.repeat(["a", "b"], 100)
    frame.to_csv("a.csv", index=False)
    shown = run(capsys, "train", "a.csv", "--target", "species", "--out", "run")
    for name in ("rownames", "empty", "one", "id"):
        assert re.search(rf"'{name}' .*: left out", shown), name
    assert Model.load(Path("run")).encoder.names == ["x"]
    kept = prepare("a.csv", Settings(target="species", keep=["rownames", "one"]))
    assert kept.encoder.names == ["rownames", "one", "x"]


def test_types_come_from_the_model(capsys):
    codes = np.array(["01", "02", "A3"])[RNG.integers(0, 3, 300)]
    pd.DataFrame({"code": codes, "y": np.where(codes == "01", 1.5, -1.25)}).to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "y", "--out", "run")
    Path("b.csv").write_text("code\n01\n02\n")
    run(capsys, "predict", "run", "b.csv", "--out", "p.csv")
    np.testing.assert_allclose(pd.read_csv("p.csv").prediction, [1.5, -1.25], atol=0.1)


def test_numbers_and_dates_of_the_model_are_read_again_as_such(capsys):
    days = pd.date_range("2026-01-01", periods=200).strftime("%d/%m/%Y")
    frame = pd.DataFrame({"when": days, "v": RNG.random(200).round(3), "b": RNG.random(200) > 0.5})
    frame["y"] = np.arange(200) * 1.5
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "y", "--out", "run", "--missing", "fill")
    Path("b.csv").write_text('when,v,b\n03/02/2026,"0,5",TRUE\n04/02/2026,,\n')
    run(capsys, "predict", "run", "b.csv", "--out", "p.csv")
    found = pd.read_csv("p.csv").prediction
    np.testing.assert_allclose(found, [49.5, 51], atol=8)
    Path("b.csv").write_text("when,v,b\n13/13/2026,1,TRUE\n")
    assert mistake(capsys, "predict", "run", "b.csv", "--out", "q.csv").startswith("column 'when' must hold dates")


def test_codes_and_na_as_categories(capsys):
    codes = RNG.integers(0, 9, 400)
    words = np.array(["NA", "None", "red"])[RNG.integers(0, 3, 400)]
    y = np.where((codes % 2 == 0) ^ (words == "NA"), "odd", "even")
    y = np.where(RNG.random(400) < 0.5, np.where(codes % 2 == 0, "odd", "even"), y)
    pd.DataFrame({"code": codes, "word": words, "y": y}).to_csv("a.csv", index=False)
    said = mistake(capsys, "train", "a.csv", "--target", "y")
    assert "--category 'word' reads NA and None there as words" in said
    run(capsys, "train", "a.csv", "--target", "y", "--category", "code", "--category", "word", "--out", "run")
    model = Model.load(Path("run"))
    assert [part.values for part in model.encoder.parts] == [list("012345678"), ["NA", "None", "red"]]
    assert model.about["held out"]["accuracy"] > 0.6
    run(capsys, "predict", "run", "a.csv", "--out", "p.csv")


def test_the_input_is_not_overwritten(capsys):
    shop().to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "y", "--drop", "price", "--epochs", 1, "--out", "run")
    Path("link.csv").symlink_to("a.csv")
    before = Path("a.csv").read_bytes()
    for out in ("a.csv", "./a.csv", "link.csv"):
        assert mistake(capsys, "predict", "run", "a.csv", "--out", out).startswith(
            "--out must be another file than DATA"
        )
    assert Path("a.csv").read_bytes() == before
    Path("m.csv").write_bytes(Path("run/model.safetensors").read_bytes())
    assert "than MODEL" in mistake(capsys, "predict", "m.csv", "a.csv", "--out", "m.csv")


def test_scores_of_some_classes_and_of_rows_of_the_training(capsys):
    frame = pd.DataFrame({"x": np.repeat([0.0, 5.0, 10.0], 100) + RNG.random(300), "y": np.repeat(list("abc"), 100)})
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "y", "--out", "run")
    new = pd.DataFrame({"x": [0.2, 0.4, 0.6, 0.7, 0.1], "y": ["a"] * 5})
    new.to_csv("b.csv", index=False)
    shown = run(capsys, "evaluate", "run", "b.csv")
    assert "F1             1.0000" in shown
    assert "beware" not in shown
    assert "ROC AUC" not in shown
    assert "About 80% of these rows were in the training" in run(capsys, "evaluate", "run", "a.csv")
    assert "in the training" in run(capsys, "predict", "run", "a.csv", "--out", "p.csv")
    new.assign(y=["a", None, "a", "a", None]).to_csv("b.csv", index=False)
    assert "3 of 5 rows have a value of 'y'" in run(capsys, "evaluate", "run", "b.csv")
    new.assign(y="q").to_csv("b.csv", index=False)
    assert "classes that the model does not know, such as q" in mistake(capsys, "evaluate", "run", "b.csv")
    new.assign(y=None).to_csv("b.csv", index=False)
    assert mistake(capsys, "evaluate", "run", "b.csv") == "no row has a value of 'y'"
    new[["x"]].to_csv("b.csv", index=False)
    assert mistake(capsys, "evaluate", "run", "b.csv").startswith(
        "the target of the model must be a column of the data"
    )


def test_infinite_targets_are_not_scored(capsys):
    frame = shop()
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "price", "--drop", "y", "--epochs", 2, "--out", "run")
    frame.assign(price=np.inf).to_csv("b.csv", index=False)
    assert mistake(capsys, "evaluate", "run", "b.csv") == "column 'price' has infinite numbers"


def test_whole_numbers_and_bools_with_gaps_are_scored(capsys):
    for target, values in (("n", [0, 1]), ("t", [True, False])):
        frame = pd.DataFrame({"x": RNG.random(60), target: values * 30})
        frame.to_csv("a.csv", index=False)
        run(capsys, "train", "a.csv", "--target", target, "--epochs", 2, "--out", "run")
        frame[target] = frame[target].astype(object).where(frame.index > 0, None)
        frame.to_csv("b.csv", index=False)
        assert "59 of 60 rows" in run(capsys, "predict", "run", "b.csv", "--out", "p.csv")


def test_all_problems_of_a_table_are_said_at_once(capsys):
    frame = shop(60)
    frame["w"] = ["1,234"] * 30 + ["2,345"] * 30
    frame["gap"] = [None, *frame.a[1:]]
    frame["inf"] = [np.inf, *frame.a[1:]]
    frame.drop(columns=["a", "c", "day", "price"]).to_csv("a.csv", index=False)
    frame[["w", "b", "y"]].to_csv("b.csv", index=False)
    said = mistake(capsys, "train", "a.csv", "--target", "y")
    assert [line.split(" has")[0].split(" holds")[0] for line in said.splitlines()] == ["column 'inf'", "column 'gap'"]
    assert mistake(capsys, "train", "b.csv", "--target", "y").startswith("column 'w' holds '1,234', which may be")
    run(capsys, "train", "b.csv", "--target", "y", "--decimal", ",", "--epochs", 1, "--out", "run")
    assert Model.load(Path("run")).decimal == ","
    run(capsys, "train", "b.csv", "--target", "y", "--drop", "w", "--epochs", 1, "--out", "run")


def test_gaps_in_the_target_alone(capsys):
    frame = shop()
    frame.loc[:9, "y"] = None
    frame.loc[5:19, "a"] = None
    frame.to_csv("a.csv", index=False)
    shown = run(
        capsys, "train", "a.csv", "--target", "y", "--missing", "fill", "--missing-target", "drop", "--epochs", 1,
        "--out", "m",
    )  # fmt: skip
    assert "10 of 300 rows were left out" in shown


@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_weights_count(model, capsys):
    frame = pd.DataFrame({"x": RNG.random(400), "y": ["a", "b"] * 200, "w": [1.0, 0.0] * 200})
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "y", "--weight", "w", "--model", model, "--epochs", 20, "--out", "run")
    loaded = Model.load(Path("run"))
    assert loaded.encoder.names == ["x"]
    assert loaded.about["guess"]["shares"].tolist() == [1.0, 0.0]
    assert loaded.about["held out"]["accuracy"] == 1.0
    for w in ([-1.0, 1.0], [0.0, 0.0], ["much", "few"]):
        frame.assign(w=w * 200).to_csv("a.csv", index=False)
        assert mistake(capsys, "train", "a.csv", "--target", "y", "--weight", "w").startswith(
            "--weight must be a column"
        )
    assert mistake(capsys, "train", "a.csv", "--target", "y", "--weight", "y").startswith("--weight must be another")


def test_groups_and_times_decide_which_rows_are_held_out():
    shop().to_csv("a.csv", index=False)
    task = prepare("a.csv", Settings(target="y", group="who", drop=["price"]))
    assert not set(task.training.by) & set(task.held_out.by)
    assert "who" not in task.encoder.names
    task = prepare("a.csv", Settings(target="y", time="day", drop=["price"]))
    assert task.training.by.max() < task.held_out.by.min()
    assert len(task.test) == 60
    assert "day" in prepare("a.csv", Settings(target="y", time="day", keep=["day"])).encoder.names


@pytest.mark.parametrize("options", [[], ["--group", "who"], ["--time", "day"]])
@pytest.mark.parametrize("target", ["y", "price"])
def test_folds(target, options, capsys):
    shop().to_csv("a.csv", index=False)
    drop = "price" if target == "y" else "y"
    shown = run(
        capsys,
        "train",
        "a.csv",
        "--target",
        target,
        "--drop",
        drop,
        *options,
        "--folds",
        5,
        "--epochs",
        30,
        "--out",
        "m",
    )
    assert "folds          5, mean and deviation" in shown
    assert "+-" in shown
    model = Model.load(Path("m"))
    assert len(model.about["folds"]) == 5
    assert model.about["rows"] == 300
    assert "mean and deviation" in run(capsys, "show", "m")


def test_folds_of_noise_say_so(capsys):
    rng = np.random.default_rng(0)
    pd.DataFrame({f"x{i}": rng.random(60) for i in range(20)}).assign(y=rng.random(60)).to_csv("a.csv", index=False)
    shown = run(capsys, "train", "a.csv", "--target", "y", "--folds", 3, "--penalty", "none", "--out", "m")
    assert re.search(r"No better than the simplest guess in \d of 3 folds", shown)


def test_rows_of_another_file(capsys):
    frame = shop()
    frame[:200].to_csv("a.csv", index=False)
    frame[200:].to_csv("b.csv", index=False)
    shown = run(
        capsys, "train", "a.csv", "--target", "y", "--valid", "b.csv", "--drop", "price", "--weight", "c", "--out", "m"
    )
    assert "held out       100 rows" in shown
    assert "300 rows" in shown
    assert Model.load(Path("m")).about["rows"] == 200
    frame.assign(y="q").to_csv("b.csv", index=False)
    assert "does not know" in mistake(capsys, "train", "a.csv", "--target", "y", "--valid", "b.csv")
    frame[["y"]].to_csv("b.csv", index=False)
    assert "the columns of b.csv must be" in mistake(capsys, "train", "a.csv", "--target", "y", "--valid", "b.csv")
    frame[:200].to_csv("b.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "price", "--valid", "b.csv", "--epochs", 2, "--out", "m")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--folds", "1"], "--folds must be a whole number from 2 on; got 1"),
        (["--folds", "300"], "--folds must leave rows of two classes|--folds must be such"),
        (["--folds", "31", "--group", "who"], "--folds must be such that each fold has rows"),
        (["--folds", "3", "--valid", "b.csv"], "--valid and --folds both say"),
        (["--time", "day", "--group", "who"], "--group and --time both say"),
        (["--time", "b"], "--time must be a column of numbers or dates; 'b' holds"),
        (["--time", "day", "--test-size", ".9999"], "--test-size must be such that rows are left"),
        (["--group", "same"], "--group must have at least two groups; 'same' is always '1'"),
        (["--group", "nobody"], "--group must be a column of the data"),
        (["--text", "b", "--category", "b"], "column 'b' must have one of --text, --category"),
        (["--drop", "b", "--keep", "b"], "column 'b' must have one of"),
        (["--missing-target", "fill"], "--missing-target must be one of error, drop; got 'fill'"),
        (["--sep", ",,"], "--sep must be a single character"),
        (["--valid", "nowhere.csv"], "nowhere.csv cannot be read"),
    ],
)
def test_choices_that_cannot_be(options, said, capsys):
    frame = shop(299 if "300" in options else 300).assign(same=1)
    frame.to_csv("a.csv", index=False)
    assert re.match(said, mistake(capsys, "train", "a.csv", "--target", "y", *options))


def test_folds_without_two_classes_to_train_on(capsys):
    frame = pd.DataFrame({"t": np.arange(60) / 2, "x": RNG.random(60), "y": ["a"] * 50 + ["b"] * 10})
    frame.to_csv("a.csv", index=False)
    assert "rows of two classes to train on in each fold" in mistake(
        capsys, "train", "a.csv", "--target", "y", "--time", "t", "--folds", 3
    )


@pytest.mark.parametrize("options", [[], ["--model", "mlp", "--hidden", "8,4"]])
@pytest.mark.parametrize("target", ["y", "price"])
def test_training_goes_on(options, target, capsys):
    frame = shop()
    frame.to_csv("a.csv.gz", index=False)
    assert gzip.decompress(Path("a.csv.gz").read_bytes())[:1] == b"a"
    common = ["a.csv.gz", "--target", target, "--drop", "price" if target == "y" else "y", "--epochs", 30]
    run(capsys, "train", *common, *options)
    first = Model.load(Path("a-model"))
    frame.to_csv("b.csv", index=False)
    run(capsys, "train", "b.csv", "--continue", "a-model", "--epochs", 1, "--lr", "1e-9", "--out", "more")
    second = Model.load(Path("more"))
    assert type(second.estimator) is type(first.estimator)
    expected = first.estimator.predict(first.encoder.encode(prepare("b.csv", Settings(target=target)).all.features))
    found = second.estimator.predict(second.encoder.encode(prepare("b.csv", Settings(target=target)).all.features))
    if target == "y":
        assert (expected == found).mean() > 0.99
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_what_cannot_go_on(capsys):
    frame = shop()
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "y", "--drop", "price", "--epochs", 1, "--out", "m")
    go_on = ["train", "a.csv", "--continue", "m", "--out", "n"]
    assert mistake(capsys, *go_on, "--target", "b").startswith("--target must be that of the model, 'y'; got 'b'")
    assert mistake(capsys, *go_on, "--folds", 3).startswith("--folds and --continue exclude each other")
    frame.drop(columns="a").to_csv("a.csv", index=False)
    assert "--continue: the model's columns must be a column of the data" in mistake(capsys, *go_on)
    frame.drop(columns="y").to_csv("a.csv", index=False)
    assert "--continue: the model's columns must be a column of the data" in mistake(capsys, *go_on)
    frame.assign(y="maybe").to_csv("a.csv", index=False)
    assert "does not know, such as maybe" in mistake(capsys, *go_on)
    assert not Path("n").exists()


@pytest.mark.parametrize("options", [[], ["--model", "mlp"], ["--text", "b"]])
@pytest.mark.parametrize("target", ["y", "price", "b"])
def test_what_matters_most_and_the_model_shown(options, target, capsys):
    if target in options:
        options = ["--model", "mlp", "--test-size", "0"]
    shop().to_csv("a.csv", index=False)
    drop = [f"--drop={name}" for name in ("y", "price") if name != target]
    shown = run(capsys, "train", "a.csv", "--target", target, *drop, *options, "--epochs", 60, "--out", "m")
    assert ("matters most" in shown) == ("--test-size" not in options) or target == "b"
    described = run(capsys, "show", "m")
    for part in (f"predicts       {target}", "numbers: a, c, day, who, n", "training"):
        assert part in described
    assert target == "b" or re.search(r"^  a +[-0-9.]+$", shown, re.MULTILINE)


def test_a_model_of_nothing_but_weights_can_be_shown(capsys):
    task, model, _ = train("iris", Settings(epochs=1, test_size=0.0, quiet=True), Path("m"))
    Model(model.encoder, model.estimator, "target").save(Path("bare.safetensors"))
    assert "predicts       target, 3 classes" in run(capsys, "show", "bare.safetensors")
    assert len(task.test) == 0
    shown = run(capsys, "evaluate", "bare.safetensors", "iris")
    assert "beware" not in shown
    train("diabetes", Settings(epochs=1, quiet=True), Path("m"))
    assert "R2" in run(capsys, "show", "m")


def test_svmlight_models_are_shown(capsys):
    Path("a.svm").write_text("\n".join(f"{i % 2} 1:{i % 7} {2 + i % 7}:1" for i in range(60)))
    run(capsys, "train", "a.svm", "--out", "m")
    assert "sparse: 8 without names" in run(capsys, "show", "m")


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "show", "lr-find"])
def test_help_has_an_example(command, capsys):
    shown = run(capsys, command, "--help")
    assert f"Example: gdfast {command} " in shown
    if command in ("train", "lr-find"):
        for heading in ("The file:", "Columns and rows:", "The model:", "The training:"):
            assert heading in shown


@pytest.mark.parametrize("about", [{"held out": {"r2": 1.0}}, {"held out": [1]}, {"folds": 7}, {"importances": [1]}])
def test_what_no_training_says_of_itself_is_refused(about, capsys):
    _, model, _ = train("iris", Settings(epochs=1, test_size=0.0, quiet=True), Path("m"))
    Model(model.encoder, model.estimator, "target", about=about).save(Path("odd.safetensors"))
    assert mistake(capsys, "show", "odd.safetensors") == "odd.safetensors says of its training what no training leaves"
