"""Where commands write: never over what they read, nor over a device, and in the format that the name says."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import mistake, run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs links and pipes")


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    """Leave a table and a model of it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.random(60), "b": rng.random(60)})
    frame["y"] = np.where(frame.a > 0.5, "yes", "no")
    frame.to_csv("a.csv", index=False)


@pytest.fixture
def model(capsys):
    run(capsys, "train", "a.csv", "--target", "y", "--out", "model", "--quiet")
    return "model"


@pytest.mark.parametrize("options", [[], ["--stream"]])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_link_is_written_in_the_format_of_its_own_name(model, suffix, options, capsys):
    Path(f"p{suffix}").symlink_to("newest")
    run(capsys, "predict", model, "a.csv", "--out", f"p{suffix}", "--quiet", *options)
    assert Path(f"p{suffix}").is_symlink()
    read = pd.read_csv if suffix == ".csv" else pd.read_parquet
    assert len(read("newest")) == 60


def test_a_link_of_a_picture(capsys):
    Path("p.gif").symlink_to("newest")
    run(capsys, "plot", "paths", "ravine", "--steps", "2", "--out", "p.gif")
    assert Path("newest").read_bytes()[:3] == b"GIF"


@pytest.mark.parametrize("command", ["train", "valid", "folder"])
def test_a_training_does_not_replace_its_data(command, capsys):
    Path("own").mkdir()
    before = Path("a.csv").read_bytes()
    Path("own/log.csv").write_bytes(before)
    if command == "train":
        arguments = ["own/log.csv", "--out", "own"]
    elif command == "valid":
        arguments = ["a.csv", "--valid", "own/log.csv", "--out", "own"]
    else:
        Path("other").symlink_to("own")
        arguments = ["own/log.csv", "--out", "other"]
    assert mistake(capsys, "train", *arguments, "--target", "y") == (
        f"--out must be another folder, since log.csv would replace own/log.csv; got {arguments[-1]!r}"
    )
    assert [path.name for path in Path("own").iterdir()] == ["log.csv"]
    assert Path("own/log.csv").read_bytes() == before


def test_pipes_and_devices_are_refused(model, capsys):
    os.mkfifo("pipe.csv")
    Path("null.png").symlink_to(os.devnull)
    what = "--out must be a file that can be written, and no device or pipe; got "
    assert mistake(capsys, "predict", model, "a.csv", "--out", "pipe.csv") == what + "'pipe.csv'"
    assert mistake(capsys, "lr-find", "a.csv", "--target", "y", "--out", "null.png") == what + "'null.png'"
    assert mistake(capsys, "plot", "schedules", "--out", "null.png") == what + "'null.png'"
    Path("special").mkdir()
    os.mkfifo("special/model.safetensors")
    for options in ([], ["--stream"]):
        assert mistake(capsys, "train", "a.csv", "--target", "y", "--out", "special", *options) == (
            "--out must be a folder in which model.safetensors is no device or pipe; got 'special'"
        )


def test_names_that_are_too_long(model, capsys):
    long = "p" * 300 + ".csv"
    assert mistake(capsys, "predict", model, "a.csv", "--out", long) == (
        f"--out must be a file that can be written (File name too long); got {long!r}"
    )
