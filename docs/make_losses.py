"""Write the table of losses into docs/estimators.md from their declarations: `python docs/make_losses.py`.

A test compares the page with what this script would write.
"""

from pathlib import Path

from gdfast.sklearn import LOSSES

PAGE = Path(__file__).with_name("estimators.md")
BEGIN, END = "<!-- made by `python docs/make_losses.py` -->\n", "<!-- end -->\n"
HEAD = """\

| estimator | loss | |
|---|---|---|
"""


def table() -> str:
    """Return the table of losses, each with the estimators that have it."""
    lines = HEAD
    for linear, network in (("GDClassifier", "MLPClassifier"), ("GDRegressor", "MLPRegressor")):
        for name, loss in LOSSES[linear].items():
            estimators = f"`{linear}`, `{network}`" if name in LOSSES[network] else f"`{linear}`"
            targets = "" if loss.targets == "real" else f"; {loss.targets} targets"
            lines += f"| {estimators} | {name} | {loss.summary.replace('``', '`')}{targets} |\n"
    return lines


def page() -> str:
    """Return the whole page, with the present table."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
