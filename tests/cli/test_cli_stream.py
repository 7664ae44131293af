"""``--stream``: the same answers as with all rows in memory, for rows that no memory holds."""

import decimal
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gdfast.__main__ import main
from gdfast.cli import streaming
from gdfast.cli.errors import UserError
from gdfast.cli.model import Model
from gdfast.sklearn._streaming import StreamFit
from gdfast.tables import csv_blocks, reading

RNG = np.random.default_rng(0)
N = 3000


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def clicks():
    ads = RNG.integers(0, 500, N) * 1_000_003
    frame = pd.DataFrame({"ad": ads, "town": RNG.choice(["Bonn", "Kiel"], N), "seconds": RNG.random(N)})
    score = np.sin(ads) + (frame.town == "Kiel") + frame.seconds - 1
    frame["click"] = np.where(score + RNG.normal(size=N) * 0.2 > 0, "yes", "no")
    frame["paid"] = score
    return frame


FRAME = clicks()


def run(capsys, *arguments, code=0):
    assert main(list(arguments)) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    return err if code else out


def refused(capsys, *arguments):
    return run(capsys, "train", "rows.parquet", "--stream", *arguments, code=2)


def accuracy(out):
    return float(next(line for line in out.splitlines() if line.startswith("accuracy")).split()[1])


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "csv.gz"])
def test_a_click_log(capsys, suffix):
    data, frame = f"rows.{suffix}", FRAME.drop(columns="paid")
    if suffix == "parquet":
        frame.to_parquet(data, row_group_size=700)
    else:
        frame.to_csv(data, index=False, sep="\t" if suffix == "tsv" else ",")
    frame.to_csv("valid.csv", index=False)
    out = run(
        capsys, "train", data, "--target", "click", "--stream", "--category", "ad", "--hash-bits", "12", "--out", "m",
        "--epochs", "3", "--valid", "valid.csv",
    )  # fmt: skip
    assert "click from 3 columns, hashed to 4,096, 3,000 rows" in out
    assert "GDClassifier, log_loss, adagrad" in out
    assert "'click' holds 2 different words: taken as classes." in out
    assert "Scales and classes are those of all 3,000 rows." in out
    assert accuracy(out) > 0.8
    run(capsys, "predict", "m", data, "--out", "streamed.csv", "--stream")
    run(capsys, "predict", "m", data, "--out", "whole.csv")
    pd.testing.assert_frame_equal(pd.read_csv("streamed.csv"), pd.read_csv("whole.csv"))
    assert accuracy(run(capsys, "evaluate", "m", "valid.csv")) == accuracy(out)


def test_numbers_in_one_averaged_epoch_of_files_in_a_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("gdfast.sklearn._streaming.STATISTICS_ROWS", 1000)
    (tmp_path / "rows").mkdir()
    for part in range(3):
        FRAME[part * 1000 : part * 1000 + 1000].to_parquet(f"rows/{part}.parquet", row_group_size=100)
    out = run(
        capsys, "train", "rows", "--target", "paid", "--stream", "--drop", "click", "--drop", "ad", "--drop", "town",
        "--out", "m",
    )  # fmt: skip
    assert "paid from 1 column, 3,000 rows" in out
    assert " 1 epoch, " in out
    model = Model.load(tmp_path / "m")
    assert not model.encoder.is_sparse
    monkeypatch.setattr(reading.parquet_tables, "__defaults__", (64,))
    assert "3,000 predictions" in run(capsys, "predict", "m", "rows", "--out", "p.parquet", "--stream")
    found = pd.read_parquet("p.parquet").prediction
    assert len(found) == 3000
    assert np.corrcoef(found, FRAME.paid)[0, 1] > 0.3


def test_blocks_of_csv(capsys, tmp_path, monkeypatch):
    frame = FRAME.assign(town=np.where(FRAME.town == "Kiel", "Kiel\nam Meer", "Bonn")).drop(columns="paid")
    (tmp_path / "rows").mkdir()
    frame[:2000].to_csv("rows/a.csv", index=False)
    frame[2000:].to_csv("rows/b.csv", index=False)
    run(capsys, "train", "rows", "--target", "click", "--stream", "--category", "ad", "--out", "m", "--quiet")
    monkeypatch.setattr(csv_blocks.csv_tables, "__defaults__", (5000,))
    run(capsys, "predict", "m", "rows", "--out", "blocks.csv", "--stream", "--quiet")
    frame.to_csv("whole.csv", index=False)
    run(capsys, "predict", "m", "whole.csv", "--out", "p.csv", "--quiet")
    pd.testing.assert_frame_equal(pd.read_csv("blocks.csv"), pd.read_csv("p.csv"))


def test_a_training_that_broke_off_goes_on(capsys, tmp_path, monkeypatch):
    FRAME.to_parquet("rows.parquet", row_group_size=300)
    arguments = [
        "train",
        "rows.parquet",
        "--target",
        "click",
        "--stream",
        "--category",
        "ad",
        "--drop",
        "paid",
        "--epochs",
        "3",
        "--out",
    ]
    run(capsys, *arguments, "whole")

    usual, calls = StreamFit._prepared, []

    def full(fit, batch):
        calls.append(batch)
        if len(calls) == 2:
            raise OSError("the disk is full")
        return usual(fit, batch)

    with monkeypatch.context() as patch:
        patch.setattr(StreamFit, "_prepared", full)
        with pytest.raises(UserError, match=r"the disk is full.*kept in .*checkpoint.safetensors: the same command"):
            streaming.train(
                "rows.parquet",
                streaming.Settings(target="click", category=["ad"], drop=["paid"], epochs=3),
                tmp_path / "m",
            )
    run(capsys, *arguments, "m")
    assert (
        Model.load(tmp_path / "m").estimator.coef_.tobytes() == Model.load(tmp_path / "whole").estimator.coef_.tobytes()
    )
    assert not (tmp_path / "m" / streaming.CHECKPOINT).exists()


def test_what_is_chosen_is_used(capsys, tmp_path):
    FRAME.to_parquet("rows.parquet")
    run(
        capsys, "train", "rows.parquet", "--target", "click", "--stream", "--drop", "paid", "--out", "m", "--lr", "0.5",
        "--batch-size", "100", "--epochs", "2", "--penalty", "l1", "--alpha", "0.001", "--weight", "seconds",
    )  # fmt: skip
    about = Model.load(tmp_path / "m").about
    assert (about["epochs"], about["rows"]) == (2, N)
    run(capsys, "train", "rows.parquet", "--target", "paid", "--stream", "--drop", "click", "--optimizer", "sgd",
        "--lr", "0.01", "--missing", "fill", "--out", "n", "--task", "regression")  # fmt: skip
    assert Model.load(tmp_path / "n").missing == "fill"


def test_what_needs_all_rows_is_refused(capsys):
    FRAME.to_parquet("rows.parquet")
    for arguments in (
        ["--folds", "3"], ["--time", "seconds"], ["--group", "ad"], ["--keep", "ad"], ["--early-stopping"],
        ["--balanced"],
        ["--schedule", "linear"], ["--warmup", "0.1"], ["--lr", "find"], ["--missing", "drop"],
        ["--comment", "#"], ["--missing-target", "drop"], ["--continue", "m"],
    ):  # fmt: skip
        error = refused(capsys, "--target", "click", *arguments)
        assert f"{arguments[0]}" in error, error
        assert "needs all rows in memory, and --stream reads them batch by batch" in error


def test_weights_are_no_part_of_a_streamed_prediction(capsys):
    FRAME.to_parquet("rows.parquet")
    run(capsys, "train", "rows.parquet", "--stream", "--target", "click", "--out", "m")
    error = run(capsys, "predict", "m", "rows.parquet", "--stream", "--weight", "seconds", "--out", "p.csv", code=2)
    assert "--weight is for scores, which need all rows" in error
    error = run(capsys, "predict", "m", "rows.parquet", "--stream", "--comment", "#", "--out", "p.csv", code=2)
    assert "--comment needs all rows in memory, and --stream reads them batch by batch" in error


def test_what_else_is_refused(capsys, tmp_path):
    FRAME.assign(half=FRAME.seconds.round(), flag=FRAME.click == "yes").to_parquet("rows.parquet")
    assert "--target must name the column" in refused(capsys)
    assert "--hash-bits must be a whole number from 4 to 30; got 3" in refused(
        capsys, "--target", "click", "--hash-bits", "3"
    )
    assert "target must be a column of rows.parquet" in refused(capsys, "--target", "nothing")
    assert "--drop must be a column of rows.parquet; got 'nothing'" in refused(
        capsys, "--target", "click", "--drop", "nothing"
    )
    assert "classes; 'half' holds decimals" in refused(capsys, "--target", "half")
    assert "'click' holds words" in refused(capsys, "--target", "click", "--task", "regression")
    assert "must be a .parquet, .csv or .tsv file" in run(
        capsys, "train", "iris", "--target", "target", "--stream", code=2
    )
    with gzip.open("bad.csv.gz", "wb") as file:
        file.write(b"ad,town,seconds\n1,\xff,2\n")
    (tmp_path / "empty.csv").write_text("ad,town,seconds\n\n\n")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no more PAR1")
    run(capsys, "train", "rows.parquet", "--target", "flag", "--stream", "--out", "m", "--drop", "paid", "--drop",
        "half", "--drop", "click", "--category", "ad", "--quiet")  # fmt: skip
    utf8 = ["--stream", "--encoding", "utf-8"]
    error = run(capsys, "predict", "m", "bad.csv.gz", "--out", "p.csv", *utf8, code=2)
    assert "bad.csv.gz cannot be read as utf-8" in error
    for data, said in (
        ("empty.csv", "empty.csv has no rows"),
        ("no.csv", "no.csv cannot be read: No such file"),
        ("no.parquet", "no.parquet cannot be read"),
        ("bad.parquet", "bad.parquet cannot be read"),
    ):
        assert said in run(capsys, "predict", "m", data, "--out", "p.csv", "--stream", code=2)
        assert not (tmp_path / "p.csv").exists()


def test_a_file_of_names_alone_and_weights_of_words(capsys, tmp_path):
    (tmp_path / "names.csv").write_text("x,y\n")
    assert "names.csv has no rows" in run(capsys, "train", "names.csv", "--target", "y", "--stream", code=2)
    FRAME.to_parquet("rows.parquet")
    error = refused(capsys, "--target", "click", "--weight", "town")
    assert "column 'town', the weight, must hold numbers; it holds" in error


def test_what_fails_leaves_no_empty_folder(capsys, tmp_path):
    FRAME.assign(click="yes").to_parquet("rows.parquet")
    assert "at least 2 classes" in refused(capsys, "--target", "click", "--out", "m")
    assert not (tmp_path / "m").exists()
    (tmp_path / "m").mkdir()
    refused(capsys, "--target", "click", "--out", "m")
    assert (tmp_path / "m").exists()


def test_rows_are_counted_where_words_have_line_breaks(capsys, tmp_path):
    FRAME.assign(town=FRAME.town + "\non the Rhine").to_csv("rows.csv", index=False)
    out = run(capsys, "train", "rows.csv", "--target", "click", "--stream", "--drop", "paid", "--out", "m")
    assert "3,000 rows" in out.splitlines()[0]
    assert Model.load(tmp_path / "m").about["rows"] == N


def test_decimals_and_bools_are_numbers_from_training_to_prediction(capsys):
    cents = [decimal.Decimal(int(100 * second)) / 100 for second in FRAME.seconds]
    frame = FRAME.assign(seconds=cents, late=FRAME.seconds > 0.5)[["seconds", "late", "click"]]
    for data in ("rows.parquet", "rows.csv"):
        frame.to_parquet(data) if data == "rows.parquet" else frame.to_csv(data, index=False)
        run(capsys, "train", data, "--target", "click", "--stream", "--out", data[5:])
        for how in ([], ["--stream"]):
            run(capsys, "predict", data[5:], data, "--out", f"{data[5:]}{len(how)}.csv", *how)
    found = [pd.read_csv(f"{name}.csv") for name in ("parquet0", "parquet1", "csv0", "csv1")]
    pd.testing.assert_frame_equal(found[0], found[1])
    pd.testing.assert_frame_equal(found[2], found[3])


def test_a_missing_category_is_none_in_predictions_too(capsys):
    FRAME.assign(town=[None, "Bonn", "NA"] * (N // 3))[["town", "seconds", "click"]].to_csv("rows.csv", index=False)
    run(capsys, "train", "rows.csv", "--target", "click", "--stream", "--out", "m")
    run(capsys, "predict", "m", "rows.csv", "--out", "streamed.csv", "--stream")
    run(capsys, "predict", "m", "rows.csv", "--out", "whole.csv")
    pd.testing.assert_frame_equal(pd.read_csv("streamed.csv"), pd.read_csv("whole.csv"))


def test_the_model_stays_where_the_file_to_score_it_on_is_invalid(capsys, tmp_path):
    FRAME.to_parquet("rows.parquet")
    error = refused(capsys, "--target", "click", "--drop", "paid", "--valid", "no.csv", "--out", "m")
    assert "no.csv cannot be read" in error
    assert Model.load(tmp_path / "m").target == "click"


def test_a_folder_that_cannot_be_written_is_said(capsys, tmp_path):
    FRAME.to_parquet("rows.parquet")
    assert "--out must be a folder that can be written (File exists); got 'rows.parquet'" in refused(
        capsys, "--target", "click", "--drop", "paid", "--out", "rows.parquet"
    )
    (tmp_path / "m" / streaming.CHECKPOINT).mkdir(parents=True)
    assert "(Is a directory); got 'm'" in refused(capsys, "--target", "click", "--drop", "paid", "--out", "m")


def test_a_small_table_needs_no_more_than_without_stream(capsys):
    FRAME[:60].to_csv("few.csv", index=False)
    numbers = ("train", "few.csv", "--target", "click", "--drop", "ad", "--drop", "town", "--stream")
    out = run(capsys, *numbers, "--out", "numbers")
    assert "Newton's method" in out
    assert "steps on all rows" in out
    assert "before it was learned from" not in out
    assert Model.load(Path("numbers")).about["epochs"] < 20


def test_a_small_table_of_categories_is_read_more_than_once(capsys, monkeypatch):
    FRAME[:60].to_parquet("few.parquet")
    arguments = ("train", "few.parquet", "--target", "click", "--drop", "ad", "--drop", "paid", "--stream")
    run(capsys, *arguments, "--out", "m")
    model = Model.load(Path("m"))
    assert model.about["epochs"] == model.estimator.resolved_schedule(60, 2**20, sparse=True).max_iter > 1
    run(capsys, *arguments, "--epochs", "2", "--out", "two")
    assert Model.load(Path("two")).about["epochs"] == 2
    monkeypatch.setattr("gdfast.tables.parquet.BATCH_ROWS", 1024)
    FRAME.to_parquet("few.parquet", row_group_size=500)
    run(capsys, *arguments, "--out", "more")
    assert Model.load(Path("more")).about["epochs"] == 1
