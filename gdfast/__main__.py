"""The command ``gdfast``, also as ``python -m gdfast``.

Nothing is imported here that ``pip install gdfast`` alone does not bring; what a command misses is said in one
sentence.
"""

import sys
from collections.abc import Sequence

#: packages that ``pip install gdfast`` alone does not bring, and some command needs
PACKAGES = [
    "typer",
    "sklearn",
    "scipy",
    "threadpoolctl",
    "safetensors",
    "pandas",
    "pyarrow",
    "matplotlib",
    "PIL",
    "websockets",
]
#: command -> the extras that bring all of its packages; every other command's are brought by `train`
EXTRAS = {"": "cli", "bench": "bench", "info": "cli", "lab": "lab", "plot": "cli,plot"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the command's name; `sys.argv` by default.

    Returns
    -------
    int
        The exit code: 0 for success, 1 for a failure, 2 for a bad option or a missing package, 130 for Ctrl-C, 143 for
        SIGTERM.
    """
    try:
        from gdfast import cli

        return cli.run(arguments)
    except ImportError as error:  # ours say what to install in their own words, and have the package's as their cause
        cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        package = (cause.name or "").partition(".")[0]
        if not isinstance(cause, ModuleNotFoundError) or package not in PACKAGES:
            raise
        words = sys.argv[1:] if arguments is None else arguments
        command = next((word for word in words if not word.startswith("-")), "")
        extras = EXTRAS.get(command, "train")
        print(f'gdfast: this needs the package {package}: pip install "gdfast[{extras}]"', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":  # pragma: no cover - runs in a process of its own, and is tested there
    sys.exit(main())
