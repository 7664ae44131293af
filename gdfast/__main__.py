"""The command ``gdfast``, also as ``python -m gdfast``.

Nothing is imported here that ``pip install gdfast`` alone does not bring; what a command misses is said in one
sentence.
"""

import sys
from collections.abc import Sequence

#: packages that commands need, and what pip installs them by
EXTRAS = {
    "typer": "typer",
    "sklearn": "scikit-learn",
    "scipy": "scipy",
    "threadpoolctl": "threadpoolctl",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "pandas": "pandas pyarrow",
    "pyarrow": "pandas pyarrow",
    "websockets": "websockets",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the command's name; `sys.argv` by default.

    Returns
    -------
    int
        The exit code: 0 for success, 1 for a failure, 2 for a bad option or a missing package, 130 for Ctrl-C.
    """
    try:
        from gdfast import cli

        return cli.run(arguments)
    except ImportError as error:  # ours say what to install in their own words, and have the package's as their cause
        cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        package = (cause.name or "").partition(".")[0]
        if not isinstance(cause, ModuleNotFoundError) or package not in EXTRAS:
            raise
        print(f"gdfast: this needs the package {package}: pip install {EXTRAS[package]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":  # pragma: no cover - runs in a process of its own, and is tested there
    sys.exit(main())
