"""The command ``gdfast``, run in the process of a test."""

from gdfast.__main__ import main


def run(capsys, *arguments):
    """Run ``gdfast`` with success, and return what it prints."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def mistake(capsys, *arguments):
    """Run ``gdfast``; return the sentences it says, without its name."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("gdfast: ")
    assert "Traceback" not in err
    return err.removeprefix("gdfast: ").rstrip("\n")
