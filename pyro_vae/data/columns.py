"""The columns of a table: what kind each is, and as which numbers it is modelled."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_vae.conditionals.binary import Bernoulli
from pyro_vae.conditionals.categories import Categorical
from pyro_vae.conditionals.counts import NegativeBinomial
from pyro_vae.conditionals.family import Family
from pyro_vae.conditionals.levels import Ordinal
from pyro_vae.conditionals.positive import Gamma
from pyro_vae.conditionals.real import Normal
from pyro_vae.conditionals.unit import Beta

if TYPE_CHECKING:
    from pandas import Series

KINDS = {
    "real": "any number, by a normal, brought to mean 0 and scale 1",
    "positive": "a number above 0, by a gamma, divided by its mean",
    "count": "a whole number from 0 up, by a negative binomial",
    "share": "a number from 0 to 1, by a beta, moved off the two ends",
    "binary": "one of two values",
    "category": "one of several values",
    "ordered": "one of several values in an order",
}
LEVELS = ("binary", "category", "ordered")
MANY = 20  # different texts from which a column may hold names rather than categories
LARGE = 100  # the largest of whole numbers that are counts; larger ones are learned slowly as such
SKEWED = 1.0  # the skewness from which numbers above 0 are modelled as such

Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column, and how its cells become numbers and come back.

    Attributes:
        name: Its name.
        kind: One of `KINDS`.
        dtype: The type of pandas in which it comes back.
        levels: The values of a class, in the order of its numbers.
        shift, scale: A cell becomes (cell - shift) / scale.
        is_whole: Whether its numbers were whole, and come back rounded.
    """

    name: str
    kind: str
    dtype: Any
    levels: tuple = ()
    shift: float = 0.0
    scale: float = 1.0
    is_whole: bool = False

    def __str__(self) -> str:
        shown = f" ({', '.join(map(str, self.levels))})" if self.levels else ""
        return f"{self.name}: {self.kind}{shown}"

    @property
    def group(self) -> tuple[str, int]:
        """Columns of one group have one family, with the same options."""
        return self.kind, self.classes

    @property
    def classes(self) -> int:
        """How many numbers a network sees in place of its class, or 0."""
        return len(self.levels) if self.kind in ("category", "ordered") else 0

    def encode(self, cells: "Series") -> Values:
        """The cells as numbers, NaN where one is missing.

        Raises:
            ValueError: if there is a value that it cannot hold.
        """
        if self.kind in LEVELS:
            return self._encode_levels(cells)
        numbers = read_numbers(cells)
        self._check(numbers)
        return (numbers - self.shift) / self.scale

    def decode(self, numbers: Values) -> Any:
        """Numbers as cells."""
        if self.kind in LEVELS:
            places = np.clip(np.rint(np.nan_to_num(numbers)), 0, len(self.levels) - 1).astype(int)
            values = np.array(self.levels, dtype=object)[places]
            values[np.isnan(numbers)] = None
            return values
        values = numbers * self.scale + self.shift
        if self.kind == "share":
            values = np.clip(values, 0.0, 1.0)
        return np.rint(values) if self.is_whole else values

    def _encode_levels(self, cells: "Series") -> Values:
        places = {level: float(place) for place, level in enumerate(self.levels)}
        values = cells.astype(object)
        unseen = sorted({str(v) for v in values.dropna().unique() if v not in places})
        if unseen:
            raise ValueError(
                f"column {self.name!r}: {', '.join(unseen[:5])} was not there when the table was "
                f"read, expected one of {', '.join(map(str, self.levels))}; leave such cells empty"
            )
        return np.array([places.get(v, np.nan) for v in values], dtype=np.float64)

    def _check(self, numbers: Values) -> None:
        bounds = {"positive": (0.0, np.inf), "count": (0.0, np.inf), "share": (0.0, 1.0)}
        low, high = bounds.get(self.kind, (-np.inf, np.inf))
        seen = numbers[~np.isnan(numbers)]
        is_outside = (seen < low) | (seen > high)
        if self.kind == "positive":
            is_outside |= seen == 0
        if self.kind == "count":
            is_outside |= seen != np.rint(seen)
        if is_outside.any():
            raise ValueError(
                f"column {self.name!r}: {seen[is_outside][0]:g} is no {self.kind}, "
                f"{KINDS[self.kind].partition(',')[0]}; say what the column is, "
                f"kinds={{{self.name!r}: 'real'}}"
            )


def group_columns(columns: Sequence[Column]) -> dict[str, tuple]:
    """The families of columns that are ordered by group, as `Columns` takes them."""
    found: dict[str, tuple] = {}
    for (kind, classes), members in itertools.groupby(columns, key=lambda column: column.group):
        options = {"classes": classes} if classes else _OPTIONS.get(kind, {})
        name = f"{kind} of {classes}" if classes else kind
        found[name] = (_FAMILIES[kind], len(list(members)), options)
    return found


def make_column(name: str, cells: "Series", kind: str | Sequence | None) -> Column:
    """A column of the kind given, or of the kind that its cells suggest.

    Arguments:
        name: Its name.
        cells: Its cells, some of them not missing.
        kind: One of `KINDS`, or the values of an ordered column in their order, or None.

    Raises:
        ValueError: if the kind is unknown, or the cells are of no kind.
    """
    order = None
    if kind is not None and not isinstance(kind, str):
        kind, order = "ordered", tuple(kind)
    chosen = _find_kind(name, cells) if kind is None else kind
    if chosen not in KINDS:
        raise ValueError(
            f"kinds: {name!r} is {chosen!r}, expected one of {', '.join(KINDS)}, 'leave out', or "
            "the values of an ordered column in a list"
        )
    if chosen in LEVELS:
        levels = _list_levels(cells) if order is None else order
        if chosen == "binary" and len(levels) != 2:
            raise ValueError(f"column {name!r}: expected two values, got {len(levels)}")
        return Column(name=name, kind=chosen, dtype=cells.dtype, levels=levels)

    numbers = read_numbers(cells)
    column = Column(name=name, kind=chosen, dtype=cells.dtype)
    column._check(numbers)
    seen = numbers[~np.isnan(numbers)]
    shift, scale = _SCALINGS[chosen](seen)
    is_whole = bool((seen == np.rint(seen)).all())
    return replace(column, shift=shift, scale=scale, is_whole=is_whole)


def read_numbers(cells: "Series") -> Values:
    """Cells as numbers, NaN where one is missing.

    Raises:
        ValueError: if a cell is no number, or infinite.
    """
    import pandas as pd

    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    is_text = np.isnan(numbers) & cells.notna().to_numpy()
    if is_text.any():
        raise ValueError(f"column {cells.name!r}: {cells[is_text].iloc[0]!r} is no number")
    if np.isinf(numbers).any():
        raise ValueError(
            f"column {cells.name!r}: it has an infinite number; leave such cells empty"
        )
    return numbers


def _list_levels(cells: "Series") -> tuple:
    """The values that occur, or all that a column of categories may have, in order."""
    import pandas as pd

    if isinstance(cells.dtype, pd.CategoricalDtype):
        return tuple(cells.cat.categories)
    return tuple(sorted(cells.dropna().unique().tolist(), key=lambda v: (str(type(v)), v)))


def _find_kind(name: str, cells: "Series") -> str:
    from pandas import CategoricalDtype
    from pandas.api import types

    if types.is_datetime64_any_dtype(cells.dtype) or types.is_timedelta64_dtype(cells.dtype):
        raise ValueError(
            f"column {name!r} holds dates; make a number of them, days since a day for one, or "
            f"leave it out, kinds={{{name!r}: 'leave out'}}"
        )
    if isinstance(cells.dtype, CategoricalDtype):
        return "ordered" if cells.cat.ordered else "category"
    if types.is_bool_dtype(cells.dtype):
        return "binary"
    if types.is_numeric_dtype(cells.dtype):
        return _find_kind_of_numbers(read_numbers(cells))
    return _find_kind_of_texts(name, cells.dropna())


def _find_kind_of_numbers(numbers: Values) -> str:
    seen = numbers[~np.isnan(numbers)]
    if set(np.unique(seen)) <= {0.0, 1.0}:
        return "binary"
    if (seen == np.rint(seen)).all() and seen.min() >= 0 and seen.max() <= LARGE:
        return "count"
    if seen.min() >= 0 and seen.max() <= 1:
        return "share"
    is_positive = seen.min() > 0 and _find_skewness(seen) > SKEWED
    return "positive" if is_positive else "real"


def _find_skewness(values: Values) -> float:
    centred = values - values.mean()
    return float((centred**3).mean() / (centred**2).mean() ** 1.5)


def _find_kind_of_texts(name: str, seen: "Series") -> str:
    kinds = sorted({type(value).__name__ for value in seen})
    if len(kinds) > 1 and not set(kinds) <= {"bool"}:
        examples = {type(value).__name__: value for value in seen}
        shown = ", ".join(f"{value!r} ({kind})" for kind, value in examples.items())
        raise ValueError(f"column {name!r} mixes types: {shown}; make one of them")
    distinct = seen.nunique()
    if distinct > MANY and distinct > len(seen) / 2:
        raise ValueError(
            f"column {name!r} has {distinct} different values in {len(seen)} rows, as names have; "
            f"leave it out, kinds={{{name!r}: 'leave out'}}, or say that it is a 'category'"
        )
    return "binary" if distinct == 2 else "category"


def _standardise(seen: Values) -> tuple[float, float]:
    return float(seen.mean()), float(seen.std()) or 1.0


def _move_off_ends(seen: Values) -> tuple[float, float]:
    """(x (n - 1) + 1/2) / n, so that exact 0 and 1 have a density (Smithson & Verkuilen, 2006)."""
    scale = len(seen) / max(1, len(seen) - 1)
    return -0.5 * scale / len(seen), scale


_FAMILIES: dict[str, type[Family]] = {
    "real": Normal,
    "positive": Gamma,
    "count": NegativeBinomial,
    "share": Beta,
    "binary": Bernoulli,
    "category": Categorical,
    "ordered": Ordinal,
}
_OPTIONS = {"real": {"scale": "free"}}
_SCALINGS: dict[str, Callable[[Values], tuple[float, float]]] = {
    "real": _standardise,
    "positive": lambda seen: (0.0, float(seen.mean())),
    "count": lambda seen: (0.0, 1.0),
    "share": _move_off_ends,
}
