"""Tables of mixed columns, from files and frames to tensors and back."""

import re
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_type, check_whole
from pyro_vae.conditionals.columns import Columns
from pyro_vae.conditionals.missing import missing
from pyro_vae.conditionals.real import Normal, StandardNormal
from pyro_vae.data.columns import Column, group_columns, make_column
from pyro_vae.diagnostics.imputation import impute
from pyro_vae.networks import masked, mlp, spread
from pyro_vae.pairs.vae import VAE
from pyro_vae.weights.draws import simulate

if TYPE_CHECKING:
    from pandas import DataFrame, Series

LEAVE_OUT = "leave out"
SEPARATORS = ",;\t|"  # the first wins where none occurs
DECIMAL_COMMA = re.compile(r"\s*-?\d+,\d+\s*")


class Table:
    """A table as numbers, with all that is needed to make cells of numbers again.

    `pv.data.table` makes it.

    Attributes:
        frame: The table as it came.
        columns: The columns that are modelled, each a `Column`, those of one kind together.
        x: Their numbers, `[rows, columns]` in that order, NaN where a cell is missing.
    """

    def __init__(self, frame: "DataFrame", columns: Sequence[Column]):
        self.frame = frame
        self.columns = sorted(columns, key=lambda column: column.group)
        self.x = self.encode(frame)

    def __repr__(self) -> str:
        gaps = self.x.isnan().float().mean().item()
        head = f"{len(self.x)} rows, {len(self.columns)} columns, {gaps:.1%} of the cells missing"
        place = {name: i for i, name in enumerate(self.frame)}
        columns = sorted(self.columns, key=lambda column: place[column.name])
        return "\n".join([head, *(f"  {column}" for column in columns)])

    def encode(self, frame: "DataFrame") -> Tensor:
        """The numbers `[rows, columns]` of a frame with these columns, in any order.

        Raises:
            ValueError: if it lacks a column, or has a value that a column cannot hold.
        """
        frame = frame.rename(columns=str)
        lacking = [column.name for column in self.columns if column.name not in frame]
        if lacking:
            raise ValueError(f"frame: it has no column {', '.join(lacking)}")
        numbers = [column.encode(frame[column.name]) for column in self.columns]
        return torch.from_numpy(np.stack(numbers, 1)).float()

    def decode(self, x: Tensor, like: "DataFrame | None" = None) -> "DataFrame":
        """Numbers `[rows, columns]` as a frame, with names, categories and units.

        Arguments:
            x: The numbers.
            like: A frame with as many rows, whose other columns and index are taken over.
        """
        import pandas as pd

        rows = x.detach().cpu().double().numpy()
        index = None if like is None else like.index
        cells = {
            column.name: _as_series(column, rows[:, i], index)
            for i, column in enumerate(self.columns)
        }
        if like is None:
            return pd.DataFrame({name: cells[name] for name in self.frame if name in cells})
        return like.assign(**cells)[list(like.columns)]

    def make_pair(
        self, latents: int = 8, *, hidden: Sequence[int] = (64, 64), prior: nn.Module | None = None
    ) -> VAE:
        """A `VAE` of the table. Missing cells are allowed, in these rows and in others.

        Arguments:
            latents: The dimensions of z.
            hidden: The widths of the hidden layers of both networks.
            prior: p(z), by default a standard normal.
        """
        net = partial(mlp, hidden=tuple(hidden))
        latents = check_whole("latents", latents)
        families = group_columns(self.columns)
        classes = [column.classes for column in self.columns]
        return VAE(
            prior=StandardNormal(latents) if prior is None else prior,
            likelihood=missing(Columns(families, given=latents, net=net)),
            variational=Normal(latents, given=len(self.columns), net=masked(spread(classes, net))),
        )

    def simulate(self, pair: nn.Module, count: int) -> "DataFrame":
        """Draw rows from a pair."""
        return self.decode(simulate(pair, count)["x"])

    def impute(
        self,
        pair: nn.Module,
        frame: "DataFrame | None" = None,
        *,
        draws: int = 0,
        num_samples: int = 1000,
        progress: bool = True,
    ) -> "DataFrame | list[DataFrame]":
        """A frame whose missing cells are filled in from p(x_mis | x_obs).

        With `draws` it is a list of so many completed frames, for multiple imputation. Those are
        also draws of the rest of a row, given what is known of it.

        Arguments:
            pair: The pair, trained on `x`.
            frame: The frame, by default the table itself.
            draws: How many completed frames.
            num_samples, progress: See `pv.diagnostics.impute`, which also gives the errors.
        """
        frame = self.frame if frame is None else frame.rename(columns=str)
        found = impute(
            pair, self.encode(frame), num_samples=num_samples, draws=draws, progress=progress
        )
        if draws:
            return [self._fill(frame, x) for x in found.draws]
        return self._fill(frame, found.value)

    def _fill(self, frame: "DataFrame", x: Tensor) -> "DataFrame":
        """A frame with its missing cells from x, and all others as they were."""
        cells = self.decode(x, like=frame)
        filled = {c.name: frame[c.name].fillna(cells[c.name]) for c in self.columns}
        return frame.assign(**filled)


def table(
    source: "DataFrame | str | PathLike | Sequence[Sequence]",
    kinds: Mapping[str, str | Sequence] | None = None,
) -> Table:
    """Read a table, and find what kind each of its columns is.

    A CSV file may have any of the usual separators, quotes, decimal commas and empty cells. The
    kinds are `real`, `positive`, `count`, `share`, `binary`, `category` and `ordered`. Print the
    table to see what each column was taken for.

    Whole numbers from 0 to 100 are counts, and 0 and 1 alone are binary. Fractions within [0, 1]
    are shares, and skewed numbers above 0 are positive. Texts are categories. A column of one
    value, or of none, is left out with a warning.

    Arguments:
        source: A frame of pandas, the path of a CSV file, a matrix, or a list of rows.
        kinds: What columns are, by name, where that is not found. "leave out" leaves one out, and a
            list of values in their order makes an ordered one.

    Raises:
        ImportError: if pandas is not installed.
        TypeError: if the source is none of those.
        ValueError: if a file cannot be read, a name occurs twice, a column mixes types, holds dates
            or has too many different texts, or `kinds` names what is not there.

    Example:
        >>> import pandas as pd
        >>> people = pd.DataFrame(
        ...     {"age": [31, 40, None], "height": [1.7, 1.6, 1.8], "city": ["Rome", "Oslo", "Rome"]}
        ... )
        >>> found = table(people)
        >>> found
        3 rows, 3 columns, 11.1% of the cells missing
          age: count
          height: real
          city: binary (Oslo, Rome)
        >>> vae = found.make_pair(latents=2)
        >>> found.simulate(vae, 5).columns.tolist()
        ['age', 'height', 'city']
    """
    frame = _read(source)
    kinds = _check_kinds(kinds, frame)
    columns = []
    for name in frame.columns:
        kind = kinds.get(name)
        if kind != LEAVE_OUT and not _is_empty(name, frame[name]):
            columns.append(make_column(name, frame[name], kind))
    if not columns:
        raise ValueError("data: no column is left that could be modelled")
    return Table(frame, columns)


def _read(source: Any) -> "DataFrame":
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("table needs pandas: pip install 'pyro_vae[table]'") from error
    from scipy.sparse import issparse

    if isinstance(source, str | PathLike):
        frame = _read_csv(Path(source))
    elif isinstance(source, pd.DataFrame):
        frame = source.copy()
    elif issparse(source):
        frame = pd.DataFrame(source.toarray())
    else:
        check_type("source", source, (list, tuple, np.ndarray, Tensor), "a frame, a path or rows")
        frame = pd.DataFrame(np.asarray(source) if isinstance(source, Tensor) else source)
    return _check_frame(frame)


def _read_csv(path: Path) -> "DataFrame":
    import pandas as pd

    try:
        with open(path, encoding="utf-8-sig") as file:
            head = file.readline()
        separator = max(SEPARATORS, key=head.count)
        read = partial(
            pd.read_csv, path, sep=separator, skipinitialspace=True, encoding="utf-8-sig"
        )
        frame = read()
        if _has_decimal_commas(frame):
            frame = read(decimal=",")
    except FileNotFoundError:
        raise ValueError(f"data: there is no file {path}") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"data: cannot read {path} as CSV ({reason})") from error
    return _leave_out_numbering(frame)


def _leave_out_numbering(frame: "DataFrame") -> "DataFrame":
    """Without a first column that has no name and numbers the rows, as pandas writes it."""
    first = frame.columns[0]
    if str(first) != "Unnamed: 0" or frame[first].tolist() != list(range(len(frame))):
        return frame
    warnings.warn("the first column numbers the rows and is left out", stacklevel=4)
    return frame.iloc[:, 1:]


def _has_decimal_commas(frame: "DataFrame") -> bool:
    texts = frame.select_dtypes(["object", "string"])
    seen = [texts[name].dropna().astype(str) for name in texts]
    return any(len(s) > 0 and s.str.fullmatch(DECIMAL_COMMA).all() for s in seen)


def _check_frame(frame: "DataFrame") -> "DataFrame":
    frame.columns = frame.columns.map(str)
    twice = frame.columns[frame.columns.duplicated()].tolist()
    if twice:
        raise ValueError(f"data: the name {twice[0]!r} stands above several columns; rename them")
    if len(frame) < 2:
        raise ValueError(f"data: expected at least two rows, got {len(frame)}")
    return frame


def _check_kinds(kinds: Any, frame: "DataFrame") -> Mapping[str, str | Sequence]:
    if kinds is None:
        return {}
    check_type("kinds", kinds, Mapping, "kinds by the name of the column")
    unknown = [name for name in kinds if name not in frame]
    if unknown:
        raise ValueError(
            f"kinds: there is no column {', '.join(map(repr, unknown))}; there are "
            f"{', '.join(frame.columns)}"
        )
    return kinds


def _is_empty(name: str, cells: "Series") -> bool:
    """Whether a column says nothing, which is told in a warning."""
    distinct = cells.nunique(dropna=True)
    if distinct > 1:
        return False
    what = "no value" if distinct == 0 else f"one value, {cells.dropna().iloc[0]}"
    warnings.warn(f"column {name!r} has {what} and is left out", stacklevel=3)
    return True


def _as_series(column: Column, numbers: np.ndarray, index: Any) -> "Series":
    """Cells in the type that the column came in, or in one that can hold them."""
    import pandas as pd

    cells = pd.Series(column.decode(numbers), index=index, name=column.name)
    try:
        return cells.astype(column.dtype)
    except (TypeError, ValueError):  # a missing cell among whole numbers, for one
        return cells.infer_objects()
