"""The command line: what each command prints, and the one sentence and exit code for each mistake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gdfast
from gdfast import cli
from gdfast.__main__ import EXTRAS, main
from gdfast.demo import run as demo

FAST = ["--epochs", "1", "--batch-size", "1437"]


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python, with this gdfast."""
    environment = {**os.environ, "PYTHONPATH": str(Path(gdfast.__file__).parents[1])}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_python_m_gdfast_demo(tmp_path):
    done = python("-m", "gdfast", "demo", *FAST, "--out", str(tmp_path / "curve.png"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "same bits      yes" in done.stdout
    assert (tmp_path / "curve.png").exists()


def test_python_m_gdfast_passes_the_exit_code_on():
    done = python("-m", "gdfast", "demo", "--epochs", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_info_is_show_config(capsys):
    gdfast.show_config()
    expected = capsys.readouterr().out
    result = CliRunner().invoke(cli.app, ["info"])
    assert (result.exit_code, result.stdout) == (0, expected)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("gdfast ")


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_names_the_commands(arguments, capsys):
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: gdfast ")
    for name in ("train", "predict", "lr-find", "plot", "bench", "info", "demo"):
        assert f"  {name} " in shown


def test_the_help_of_the_demo_names_every_option_and_default():
    result = CliRunner().invoke(cli.app, ["demo", "--help"], terminal_width=120)
    for part in ("--optimizer", "--lr", "onecycle", "--warmup", "--epochs", "[default: 30]", "--threads", "demo.png"):
        assert part in result.stdout


def test_the_demo_writes_demo_png_here_by_default(in_tmp):
    result = CliRunner().invoke(cli.app, ["demo", *FAST])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].split() == ["picture", "demo.png"]
    assert [path.name for path in in_tmp.iterdir()] == ["demo.png"]


def test_options_reach_the_demo(in_tmp, capsys):
    options = "--optimizer sgd --lr 0.25 --schedule step --warmup 0.5 --epochs 2 --batch-size 700 --seed 3 --threads -1"
    assert main(["demo", *options.split(), "--out", "x.PNG"]) == 0
    shown = capsys.readouterr().out
    assert "sgd, step learning rate up to 0.25, warm-up in 3 of 6 steps" in shown
    assert "2 epochs of 3 steps with 700 images, seed 3, at most " in shown
    assert (in_tmp / "x.PNG").exists()


def test_quiet_prints_nothing(in_tmp, capfd):
    assert main(["demo", *FAST, "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_different_bits_are_exit_code_1_and_never_quiet(quiet, monkeypatch, capsys):
    monkeypatch.setattr(demo, "run", lambda settings: ("same bits  NO", False))
    assert main(["demo", *quiet]) == 1
    assert capsys.readouterr().out == "same bits  NO\n"


def test_a_training_that_diverges_is_exit_code_1(in_tmp, capsys):
    assert main(["demo", "--optimizer", "sgd", "--lr", "1e6"]) == 1
    assert sentence(capsys).startswith("gdfast: the loss became ")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--optimizer", "lion", "one of sgd, momentum, adagrad, rmsprop, adam, adamw; got 'lion'"),
        ("--schedule", "poly", "one of cosine, linear, constant, step, onecycle; got 'poly'"),
        ("--lr", "-1", "a number from 1e-09 to 1e+06; got -1.0"),
        ("--lr", "nan", "a number from 1e-09 to 1e+06; got nan"),
        ("--lr", "fast", "a number; got 'fast'"),
        ("--lr", "", "a number; got ''"),
        ("--warmup", "1", "a share of the steps, from 0 to below 1; got 1.0"),
        ("--epochs", "0", "a whole number from 1 to 10,000; got 0"),
        ("--epochs", "2.5", "a whole number; got '2.5'"),
        ("--batch-size", "0", "a whole number from 1 on; got 0"),
        ("--batch-size", "1438", "a whole number from 1 to 1,437, the number of training images; got 1438"),
        ("--seed", "-1", "a whole number from 0 to below 2**32; got -1"),
        ("--threads", "0", "a whole number but not 0 (-1 is all CPUs, -2 all but one); got 0"),
        ("--out", "curve.pdf", "a file that ends in .png; got 'curve.pdf'"),
        ("--out", "no/folder.png", "a file that can be written (No such file or directory); got 'no/folder.png'"),
        ("--out", "folder.png", "a file that can be written (Is a directory); got 'folder.png'"),
        ("--out", "file/x.png", "a file that can be written (Not a directory); got 'file/x.png'"),
    ],
)
def test_a_bad_option_is_one_sentence_and_exit_code_2(option, value, expected, in_tmp, capsys):
    (in_tmp / "folder.png").mkdir()
    (in_tmp / "file").touch()
    assert main(["demo", option, value]) == 2
    assert sentence(capsys) == f"gdfast: Invalid value for '{option}': must be {expected}"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["demos"], "demos"), (["--fast"], "--fast"), (["demo", "--sed", "1"], "--sed"), (["demo", "--lr"], "--lr")],
)
def test_an_unknown_word_is_one_sentence_and_exit_code_2(arguments, named, capsys):
    assert main(arguments) == 2
    assert named in sentence(capsys)


@pytest.mark.parametrize("package", EXTRAS)
def test_a_missing_package_is_one_sentence_and_exit_code_2(package, in_tmp):
    commands = {
        "PIL": ["plot", "paths", "ravine", "--steps", "2", "--out", "a.gif"],
        "pandas": ["train", "a.csv"],
        "pyarrow": ["train", "a.parquet"],
        "tqdm": ["demo"],
        "websockets": ["lab", "--no-browser"],
    }
    arguments = commands.get(package, ["train", "iris", "--epochs", "1"])
    for name in ("a.csv", "a.parquet"):
        (in_tmp / name).write_bytes(b"x\n1\n")
    program = (
        f"import sys; sys.modules[{package!r}] = None; from gdfast.__main__ import main; sys.exit(main({arguments}))"
    )
    done = python("-c", program)
    assert (done.returncode, done.stdout) == (2, "")
    extra = "lab" if package == "websockets" else "train"
    assert done.stderr == f'gdfast: this needs the package {package}: pip install "gdfast[{extra}]"\n'
    assert sorted(path.name for path in in_tmp.iterdir()) == ["a.csv", "a.parquet"]


def test_a_package_that_is_missing_while_a_command_runs(monkeypatch, capsys):
    monkeypatch.setattr(cli, "run", raising(ModuleNotFoundError("no tqdm", name="tqdm")))
    assert main([]) == 2
    assert sentence(capsys).endswith('tqdm: pip install "gdfast[train]"')


def test_a_missing_module_of_another_kind_is_not_hidden(monkeypatch):
    monkeypatch.setattr(cli, "run", raising(ModuleNotFoundError("no gdfast.oops", name="gdfast.oops")))
    with pytest.raises(ModuleNotFoundError, match="oops"):
        main([])


def test_ctrl_c_in_a_command_is_exit_code_130(monkeypatch, capsys):
    monkeypatch.setattr(demo, "run", raising(KeyboardInterrupt()))
    assert main(["demo"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_before_a_command_is_exit_code_130(monkeypatch):
    monkeypatch.setattr(cli, "run", raising(KeyboardInterrupt()))
    assert main([]) == 130


def test_importing_gdfast_imports_no_extra():
    done = python("-c", f"import sys, gdfast; print([name for name in {EXTRAS} if name in sys.modules])")
    assert done.stdout == "[]\n"


def raising(error: BaseException):
    """Return a function that raises, whatever it is called with."""

    def function(*arguments, **options):
        raise error

    return function


def sentence(capsys) -> str:
    """Return what is on stderr, which must be one line, with nothing on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.rstrip("\n")
