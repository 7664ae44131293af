"""Columns as the matrix that a model takes: numbers as they are, categories as 0 and 1, texts by TF-IDF.

What is learned from the training data (means, categories, how rare an n-gram is) is kept as plain data, so that a model
file can hold it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gdfast.tables.csv_files import Reading
from gdfast.tables.errors import TableError, listed, raise_all
from gdfast.tables.missing import missing
from gdfast.tables.parts import KINDS, Category, Dates, Hashed, Numbers, Part, Sparse, Text, check_category, example
from gdfast.tables.table import Table

Data: TypeAlias = dict[str, Any]

#: from n columns of 0 and 1 on the matrix is sparse
SPARSE_FROM = 64


def check_categories(table: Table, texts: Sequence[str] = (), categories: Sequence[str] = ()) -> None:
    """Check that the columns that `Encoder.learn` would take for categories come back often enough to learn from.

    Raises
    ------
    TableError
        If a column has too many different values, unless it is one of `categories`; or holds something else than words.
    """
    for name, column in table.columns.items():
        words = column.dtype.kind not in "biufM" or name in categories
        if words and name not in texts:
            check_category(name, column, often=name not in categories)


@dataclass(frozen=True)
class Encoder:
    """All columns that a model takes, in their order."""

    parts: tuple[Part, ...]

    @classmethod
    def learn(
        cls,
        table: Table,
        texts: Sequence[str] = (),
        analyzer: str = "char",
        hashes: int = 2**18,
        categories: Sequence[str] = (),
        part_of_rows: bool = False,
    ) -> "Encoder":
        """Learn from the training data, without the target.

        Parameters
        ----------
        texts : sequence of str
            Columns to read as texts.
        analyzer : {"char", "word"}
            Whether their n-grams are of characters or of words.
        hashes : int
            A text is its n-grams, each counted in one of n columns.
        categories : sequence of str
            Columns to read as categories, whatever they hold.
        part_of_rows : bool
            Whether these are some of the rows that `check_categories` was asked about: it is not asked again, since
            categories come back less often in fewer rows.

        Raises
        ------
        TableError
            If there is nothing to learn from, or a column is neither numbers nor categories.
        """
        if not part_of_rows:
            check_categories(table, texts, categories)
        words = (*texts, *categories)
        numbers = [n for n, column in table.columns.items() if column.dtype.kind in "biuf" and n not in words]
        parts: list[Part] = [Numbers.learn(table, numbers)] if numbers else []
        for name, column in table.columns.items():
            if name in texts:
                parts.append(Text.learn(table, name, analyzer, hashes))
            elif column.dtype.kind == "M" and name not in categories:
                parts.append(Dates.learn(table, name))
            elif name not in numbers:
                parts.append(Category.learn(table, name, name in categories))
        if table.sparse is not None:
            parts.append(Sparse(table.sparse.shape[1], table.zero_based))
        if not sum(part.width for part in parts):
            raise TableError("the data must have at least one column beside the target")
        return cls(tuple(parts))

    @property
    def is_sparse(self) -> bool:
        """Whether the matrix is sparse."""
        always = any(isinstance(part, Text | Sparse | Hashed) for part in self.parts)
        return always or sum(part.width for part in self.parts if isinstance(part, Category)) >= SPARSE_FROM

    @property
    def texts(self) -> list[str]:
        """The columns of texts."""
        hashed = [name for part in self.parts if isinstance(part, Hashed) for name in part.texts]
        return [part.name for part in self.parts if isinstance(part, Text)] + hashed

    @property
    def categories(self) -> list[str]:
        """The columns of categories."""
        return [part.name for part in self.parts if isinstance(part, Category)] + self.hashed

    @property
    def hashed(self) -> list[str]:
        """The columns of categories that are hashed; such a cell may be missing."""
        return [name for part in self.parts if isinstance(part, Hashed) for name in part.categories]

    def reading(self, **options: Any) -> Reading:
        """Return how a file is to be read, so that each column has the type of training.

        Parameters
        ----------
        **options
            How the file is written; see `Reading`.
        """
        categories = [part for part in self.parts if isinstance(part, Category)]
        numbers = [name for part in self.parts if isinstance(part, Numbers) for name in part.names]
        return Reading(
            texts=self.texts,
            categories=[*(part.name for part in categories if part.verbatim), *self.hashed],
            words=[part.name for part in categories if not part.verbatim],
            numbers=numbers,
            dates={part.name: part.format for part in self.parts if isinstance(part, Dates) and part.format},
            width=self.sparse_width,
            zero_based=next((part.zero_based for part in self.parts if isinstance(part, Sparse)), None),
            needed=self.names,
            **options,
        )

    @property
    def feature_names(self) -> list[str]:
        """A name for each column of the matrix; n-grams, which are hashed, share that of their column."""
        found: list[str] = []
        for part in self.parts:
            if isinstance(part, Numbers):
                found += part.names
            elif isinstance(part, Category):
                found += [f"{part.name}={value}" for value in part.values]
            elif isinstance(part, Dates):
                found += [f"{part.name}.{name}" for name in part.parts]
            elif isinstance(part, Hashed):
                found += [", ".join(part.names)] * part.width
            else:
                found += [part.names[0] if part.names else f"number {i + 1}" for i in range(part.width)]
        return found

    @property
    def names(self) -> list[str]:
        """All columns that are needed."""
        return [name for part in self.parts for name in part.names]

    @property
    def sparse_width(self) -> int | None:
        """How many numbers without names there are."""
        return next((part.width for part in self.parts if isinstance(part, Sparse)), None)

    def encode(self, table: Table) -> Any:
        """Return the matrix: dense, or CSR.

        Raises
        ------
        TableError
            If the data lacks a column, or has words where numbers were.
        """
        self._check(table)
        last = self.parts[-1]
        if isinstance(last, Hashed) and not last.texts and all(isinstance(part, Numbers) for part in self.parts[:-1]):
            numbers = [part.encode(table, True).astype(np.float32) for part in self.parts[:-1]]
            return last.encode_after(np.hstack(numbers) if numbers else np.empty((len(table), 0), np.float32), table)
        matrices = [part.encode(table, self.is_sparse) for part in self.parts]
        if any(isinstance(part, Hashed) for part in self.parts):  # of whose columns there are many
            matrices = [matrix.astype(np.float32, copy=False) for matrix in matrices]
        if not self.is_sparse:
            return np.hstack(matrices)
        from scipy.sparse import csr_matrix, hstack

        return hstack([csr_matrix(matrix) for matrix in matrices], format="csr")

    def unknown(self, table: Table) -> dict[str, int]:
        """Return, for each column that has some, how many cells hold a category that training did not see."""
        counts = {}
        for part in self.parts:
            if isinstance(part, Category):
                there = ~missing(table.columns[part.name])
                counts[part.name] = int(((part.codes(table) < 0) & there).sum())
        return {name: count for name, count in counts.items() if count}

    def _check(self, table: Table) -> None:
        lacking = [name for name in self.names if name not in table.columns]
        if lacking:
            raise TableError(f"the data lacks columns that the model was trained on: {listed(lacking)}")
        problems: list[str] = []
        for part in self.parts:
            for name in part.names:
                column = table.columns[name]
                if isinstance(part, Numbers) and column.dtype.kind not in "biuf":
                    problems.append(f"column {name!r} must hold numbers, as in training; got {example(column)}")
                if isinstance(part, Dates) and column.dtype.kind != "M" and not missing(column).all():
                    problems.append(f"column {name!r} must hold dates, as in training; got {example(column)}")
                if isinstance(part, Category):
                    check_category(name, column, often=False)
        raise_all(problems)

    def to_data(self) -> list[Data]:
        """Return it as plain data."""
        return [{"kind": part.kind, **vars(part)} for part in self.parts]

    @classmethod
    def from_data(cls, data: Sequence[Data]) -> "Encoder":
        """Return the encoder that was made plain data."""
        for item in data:
            if item["kind"] not in KINDS:
                raise ValueError(f"columns must be of kind {', '.join(KINDS)}; got {item['kind']!r}")
        return cls(tuple(KINDS[item["kind"]](**{k: v for k, v in item.items() if k != "kind"}) for item in data))
