"""Linear estimators on the rows of a Dask cluster.

`GDClassifier` and `GDRegressor` are those of `gdfast.sklearn` for Dask arrays and frames: the rows stay on the workers,
and the fit ends at the minimum that one process finds with all rows. See docs/dask.md.

It uses `gdfast.sklearn` and the rooms below, Dask and SciPy's L-BFGS-B.
"""

try:
    import dask.array
    import distributed
except ImportError as error:
    raise ImportError('gdfast.dask needs dask and distributed: pip install "gdfast[dask]"') from error

from gdfast.dask.classifier import GDClassifier
from gdfast.dask.regressor import GDRegressor

__all__ = ["GDClassifier", "GDRegressor"]
