"""Tables of mixed columns."""

from collections.abc import Mapping, Sequence

import pyro.distributions as dist
from torch import nn

from pyro_vae import distributions
from pyro_vae.conditionals.family import Conditional, Family, GivenLike
from pyro_vae.networks import Builder, build, mlp


class Columns(Conditional):
    r"""p(a | b), a product of families over the columns of a table, computed by one network.

    .. math:: \log p(a \mid b) = \sum_c \log p_c(a_c \mid b)

    a is one floating tensor `[..., columns]`, with classes and counts as whole numbers. Bring
    continuous columns to mean 0 and scale 1 first. (Nazábal, Olmos, Ghahramani & Valera, 2020)

    Use:
        likelihood: tables with columns of several kinds; with `missing` also those with gaps.

    Arguments:
        columns: The families by name, in the order of the columns: a family, or a tuple of a family
            and, each if wanted, how many columns are of it and a dict of its options. A list of
            such is numbered.
        given: The shape of b, see `Conditional`.
        net: Builds the network, whose output is split among the columns.

    Raises:
        TypeError: if a column is of no family.
        ValueError: if there are none.

    Example:
        >>> from pyro_vae.conditionals import Categorical, Normal, Poisson
        >>> p = Columns({"age": Normal, "sex": (Categorical, {"classes": 2}), "visits": (Poisson, 3)}, given=10)
        >>> p
        Columns((5,) | (10,), age=Normal, sex=Categorical(classes=2), visits=3 Poisson)
        >>> import torch
        >>> p(torch.zeros(7, 10)).sample().shape
        torch.Size([7, 5])
    """

    def __init__(
        self,
        columns: Mapping[str, type[Family] | tuple] | Sequence[type[Family] | tuple],
        given: GivenLike | None = None,
        net: Builder | nn.Module = mlp,
    ):
        if not isinstance(columns, Mapping):
            columns = {str(i): column for i, column in enumerate(columns)}
        if not columns:
            raise ValueError("columns: expected at least one, got none")
        parts = {name: _part(name, column) for name, column in columns.items()}
        super().__init__(sum(part.event_shape[0] for part in parts.values()), given)

        self.names = list(parts)
        self.parts = nn.ModuleList(parts.values())
        self.numbers = [0 if part.raw is None else part.raw.numel() for part in self.parts]
        self.net = None
        if self.given_shapes:
            self.net = build(net, self.given_shapes, (sum(self.numbers),))
            for part in self.parts:
                part.raw = None

    def forward(self, *given) -> dist.TorchDistribution:
        if self.net is None:
            parts = [part() for part in self.parts]
        else:
            raw = self.net(*given)
            chunks = raw.split(self.numbers, -1)
            parts = [
                part.at(chunk).expand(raw.shape[:-1])
                for part, chunk in zip(self.parts, chunks, strict=True)
            ]

        return self._checked(
            distributions.Product(dict(zip(self.names, parts, strict=True))), given
        )

    def options(self) -> dict[str, object]:
        return {name: _described(part) for name, part in zip(self.names, self.parts, strict=True)}


def _part(name: str, column: type[Family] | tuple) -> Family:
    family, *rest = column if isinstance(column, tuple) else (column,)
    count = rest.pop(0) if rest and isinstance(rest[0], int) else 1
    options = rest.pop(0) if rest and isinstance(rest[0], Mapping) else {}
    if rest or not (isinstance(family, type) and issubclass(family, Family)):
        raise TypeError(
            f"column {name!r}: expected a family, pv.Normal, or a tuple of one with its number of columns or its "
            f"options, (pv.Categorical, {{'classes': 3}}), got {column!r}"
        )
    try:
        return family(count, **options)
    except (TypeError, ValueError) as error:
        raise type(error)(f"column {name!r}: {error}") from error


def _described(part: Family) -> str:
    (count,), options = (
        part.event_shape,
        ", ".join(f"{key}={value}" for key, value in part.options().items()),
    )
    return (
        (f"{count} " if count > 1 else "")
        + type(part).__name__
        + (f"({options})" if options else "")
    )
