"""What is timed: steps, a whole step in one call, formats of numbers, fits of small sets, the import."""

from typing import Any

from benchmarks.formats import bytes_of, ours
from benchmarks.peers.gdfast_peer import Gdfast
from benchmarks.whole_step import ours as whole_step
from benchmarks.workloads import ALL, Workload


class Step:
    """A whole `opt.step(grads)`, on all threads."""

    param_names = ("rule", "shape")
    params = (("sgd", "momentum", "rmsprop", "adam", "adamw"), ("1k", "200 x 64", "100k", "1M"))

    def setup(self, rule: str, shape: str) -> None:
        self.run = Gdfast("native").setup(Workload(rule, shape, threads=ALL))

    def time_step(self, rule: str, shape: str) -> None:
        self.run.step()


class FromMemory(Step):
    """The same, of arrays that no cache holds."""

    params = (("adam", "adamw"), ("16.8M",))


class InOneCall:
    """Clipping to a norm, Adam, zeroing, with an average of the parameters and without."""

    param_names = ("averaged",)
    params = ((False, True),)

    def setup(self, averaged: bool) -> None:
        self.run = whole_step(Workload("adam", "1M", threads=ALL), averaged)

    def time_step(self, averaged: bool) -> None:
        self.run.step()


class Format:
    """AdamW in fewer bytes."""

    param_names = ("form",)
    params = (("8bit state", "bfloat16 split, bfloat16 state", "bfloat16 stochastic, 8bit state"),)

    def setup(self, form: str) -> None:
        self.run = ours(form, Workload("adamw", "1M", threads=ALL))

    def time_step(self, form: str) -> None:
        self.run.step()

    def track_bytes(self, form: str) -> float:
        return bytes_of(form).in_all


class Fit:
    """Fits of small sets, with the defaults."""

    param_names = ("estimator", "data")
    params = (("GDClassifier", "MLPClassifier"), ("breast_cancer", "digits"))

    def setup(self, estimator: str, data: str) -> None:
        from sklearn import datasets

        import gdfast.sklearn

        options: dict[str, Any] = {"max_iter": 10, "tol": None} if estimator == "MLPClassifier" else {}
        self.model = getattr(gdfast.sklearn, estimator)(random_state=0, **options)
        self.X, self.y = getattr(datasets, f"load_{data}")(return_X_y=True)

    def time_fit(self, estimator: str, data: str) -> None:
        self.model.fit(self.X, self.y)


def timeraw_import() -> str:
    """Time the import, NumPy's included, in a process of its own."""
    return "import gdfast"
