"""Tables with columns of several kinds."""

from collections.abc import Mapping, Sequence

import pyro.distributions as dist
from torch import nn

from pyro_vae import distributions
from pyro_vae.arguments import check_type
from pyro_vae.conditionals.conditional import GivenLike
from pyro_vae.conditionals.family import Family
from pyro_vae.conditionals.layout import Layout, take_apart
from pyro_vae.conditionals.parametric import Parametric
from pyro_vae.networks import Builder, mlp

Column = type[Family] | tuple


class Columns(Parametric):
    r"""p(a | b), a product of families over the columns of a table, computed by one network.

    .. math:: \log p(a \mid b) = \sum_c \log p_c(a_c \mid b)

    a is one floating tensor `[..., columns]`, with classes and counts as whole numbers. Bring
    continuous columns to mean 0 and scale 1 first. (Nazábal, Olmos, Ghahramani & Valera, 2020)

    Use:
        likelihood: tables with columns of several kinds. With `missing` also those with gaps.

    Arguments:
        columns: The families by name, in the order of the columns. Each is a family, or a tuple of
            a family, then if wanted how many columns are of it, then if wanted a dict of its
            options. The entries of a list are numbered.
        given: The shape of b, see `Conditional`.
        net: Builds the network. Its output is split among the columns.

    Raises:
        TypeError: if a column is of no family.
        ValueError: if there are none.

    Example:
        >>> from pyro_vae.conditionals import Categorical, Normal, Poisson
        >>> sex = (Categorical, {"classes": 2})
        >>> p = Columns({"age": Normal, "sex": sex, "visits": (Poisson, 3)}, given=10)
        >>> p
        Columns((5,) | (10,), age=Normal, sex=Categorical(classes=2), visits=3 Poisson)
        >>> import torch
        >>> p(torch.zeros(7, 10)).sample().shape
        torch.Size([7, 5])
    """

    def __init__(
        self,
        columns: Mapping[str, Column] | Sequence[Column],
        given: GivenLike | None = None,
        net: Builder | nn.Module = mlp,
    ):
        check_type("columns", columns, (Mapping, Sequence), "families by name, or a list of them")
        if not isinstance(columns, Mapping):
            columns = {str(i): column for i, column in enumerate(columns)}
        if not columns:
            raise ValueError("columns: expected at least one, got none")
        layouts = {name: _lay_out(name, column) for name, column in columns.items()}
        super().__init__(sum(layout.event_shape[0] for layout in layouts.values()), given)

        self.names = list(layouts)
        self.layouts = nn.ModuleList(layouts.values())
        self.numbers = [layout.numbers for layout in self.layouts]
        self._set_numbers(net, (sum(self.numbers),), self.layouts)

    def forward(self, *given) -> dist.TorchDistribution:
        numbers = self.compute_numbers(*given)
        batch = numbers.shape[:-1]
        chunks = take_apart(numbers, self.numbers)

        parts = {}
        for name, layout, chunk in zip(self.names, self.layouts, chunks, strict=True):
            parts[name] = layout.at(chunk).expand(batch)

        return self._check_shapes(distributions.Product(parts), given)

    def options(self) -> dict[str, object]:
        return {name: _describe(p) for name, p in zip(self.names, self.layouts, strict=True)}


def _lay_out(name: str, column: Column) -> Layout:
    family, count, options = _read(name, column)
    try:
        return family.lay_out(count, **options)
    except (TypeError, ValueError) as error:
        raise type(error)(f"column {name!r}: {error}") from error


def _read(name: str, column: Column) -> tuple[type[Family], int, Mapping]:
    """The family of a column, how many columns are of it, and its options."""
    family, *rest = column if isinstance(column, tuple) else (column,)
    count = rest.pop(0) if rest and isinstance(rest[0], int) else 1
    options = rest.pop(0) if rest and isinstance(rest[0], Mapping) else {}
    is_family = isinstance(family, type) and issubclass(family, Family)
    if rest or not is_family:
        raise TypeError(
            f"column {name!r}: expected a family, pv.Normal, or a tuple of one with its number of "
            "columns or its options, (pv.Categorical, {'classes': 3}), "
            f"got {column!r}"
        )

    return family, count, options


def _describe(layout: Layout) -> str:
    (count,) = layout.event_shape
    several = f"{count} " if count > 1 else ""
    options = ", ".join(f"{key}={value}" for key, value in layout.options().items())
    listed = f"({options})" if options else ""

    return f"{several}{layout.family.__name__}{listed}"
