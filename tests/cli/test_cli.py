"""The command line: what each command prints, and the one sentence and exit code for each mistake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gdfast
from gdfast import cli
from gdfast.__main__ import PACKAGES, main
from gdfast.cli import info
from gdfast.cli.schedules import SCHEDULES


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python, with this gdfast."""
    environment = {**os.environ, "PYTHONPATH": str(Path(gdfast.__file__).parents[1])}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_python_m_gdfast_train(tmp_path):
    done = python("-m", "gdfast", "train", "iris", "--epochs", "1", "--out", str(tmp_path / "run"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "accuracy" in done.stdout
    assert (tmp_path / "run" / "curve.png").exists()


def test_python_m_gdfast_passes_the_exit_code_on():
    done = python("-m", "gdfast", "train", "iris", "--epochs", "0")
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
    for name in ("train", "predict", "lr-find", "plot", "bench", "info"):
        assert f"  {name} " in shown


@pytest.mark.parametrize("name", ["train", "lr-find"])
def test_the_help_of_a_training_names_options_and_defaults(name):
    result = CliRunner().invoke(cli.app, [name, "--help"], terminal_width=120)
    for part in ("--optimizer", "[default: auto]", "--batch-size", "--seed", "[default: 0]", "--threads", "--out"):
        assert part in result.stdout, part


def test_quiet_prints_nothing(in_tmp, capfd):
    assert main(["train", "iris", "--epochs", "1", "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--warmup", "fast", "a number; got 'fast'"),
        ("--warmup", "", "a number; got ''"),
        ("--epochs", "2.5", "a whole number; got '2.5'"),
    ],
)
def test_what_is_no_number_is_one_sentence_and_exit_code_2(option, value, expected, in_tmp, capsys):
    assert main(["train", "iris", option, value]) == 2
    assert sentence(capsys) == f"gdfast: Invalid value for '{option}': must be {expected}"


@pytest.mark.parametrize("name", ["demo", "trian", ""])
def test_an_unknown_command_is_told_which_there_are(name, capsys):
    assert main([name, "--seed", "1"]) == 2
    said = sentence(capsys)
    names = [command.name or command.callback.__name__ for command in cli.app.registered_commands]
    names += [group.name for group in cli.app.registered_groups]
    start, _, example = said.partition(f"; got {name!r}. For example: gdfast ")
    assert start.startswith("gdfast: the command must be one of ")
    assert sorted(start.removeprefix("gdfast: the command must be one of ").split(", ")) == sorted(names)
    assert example == "train digits"


def test_an_unknown_command_of_a_group(capsys):
    assert main(["plot", "loss"]) == 2
    assert sentence(capsys) == "gdfast: the command must be one of schedules, paths, losses; got 'loss'"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--fast"], "--fast"), (["train", "iris", "--sed", "1"], "--sed"), (["train", "iris", "--lr"], "--lr")],
)
def test_an_unknown_word_is_one_sentence_and_exit_code_2(arguments, named, capsys):
    assert main(arguments) == 2
    assert named in sentence(capsys)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_is_one_sentence_and_exit_code_2(package, in_tmp):
    commands = {
        "PIL": ["plot", "paths", "ravine", "--steps", "2", "--out", "a.gif"],
        "pandas": ["train", "a.csv"],
        "pyarrow": ["train", "a.parquet"],
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
    extras = {"plot": "cli,plot", "lab": "lab"}.get(arguments[0], "train")
    assert done.stderr == f'gdfast: this needs the package {package}: pip install "gdfast[{extras}]"\n'
    assert sorted(path.name for path in in_tmp.iterdir()) == ["a.csv", "a.parquet"]


def test_a_package_that_is_missing_while_a_command_runs(monkeypatch, capsys):
    monkeypatch.setattr(cli, "run", raising(ModuleNotFoundError("no scipy", name="scipy")))
    assert main(["--quiet", "predict", "lab", "plot"]) == 2
    assert sentence(capsys).endswith('scipy: pip install "gdfast[train]"')
    monkeypatch.setattr(sys, "argv", ["gdfast", "info", "--help"])
    assert main() == 2
    assert sentence(capsys).endswith('scipy: pip install "gdfast[cli]"')
    assert main([]) == 2
    assert sentence(capsys).endswith('scipy: pip install "gdfast[cli]"')


def test_a_missing_module_of_another_kind_is_not_hidden(monkeypatch):
    monkeypatch.setattr(cli, "run", raising(ModuleNotFoundError("no gdfast.oops", name="gdfast.oops")))
    with pytest.raises(ModuleNotFoundError, match="oops"):
        main([])


def test_ctrl_c_in_a_command_is_exit_code_130(monkeypatch, capsys):
    monkeypatch.setattr(info, "show_config", raising(KeyboardInterrupt()))
    assert main(["info"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_before_a_command_is_exit_code_130(monkeypatch):
    monkeypatch.setattr(cli, "run", raising(KeyboardInterrupt()))
    assert main([]) == 130


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_rises_to_lr_and_stays_within(schedule, warmup):
    for steps in (1, 2, 3, 100):
        made = SCHEDULES[schedule](0.5, steps, int(warmup * steps))
        values = [made(step) for step in range(steps)]
        assert min(values) >= 0
        assert max(values) <= 0.5
        assert steps < 100 or max(values) == pytest.approx(0.5, rel=0.05)


def test_importing_gdfast_imports_no_extra():
    extras = (*PACKAGES, "tqdm")
    done = python("-c", f"import sys, gdfast; print([name for name in {extras} if name in sys.modules])")
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
