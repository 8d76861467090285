"""Which of the covariates that follow x each part of a pair is given."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.arguments import check_type
from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.supports import describe

Shape = tuple[int, ...]


class Covariates:
    """The covariates of a pair, and the choice of them that each part declares.

    A part declares the shapes of what it is given. Those beyond z or x are covariates. They are a
    choice of the pair's covariates, in the same order.

    Arguments:
        parts: The parts by role, and how many of their given variables are no covariates.
        shapes: The shapes of the covariates. By default those of the part that declares most.

    Attributes:
        shapes: The shapes of the covariates, in the order in which they follow x.
        supports: The sets in which covariates must lie, by their place, as far as a part says.

    Raises:
        ValueError: if a part declares a variable that is no covariate, or one that may be either of
            two covariates of one shape.

    Example:
        >>> likelihood = pv.Normal(3, given=[2, 4])
        >>> parts = {"prior": (pv.StandardNormal(2), 0), "likelihood": (likelihood, 1)}
        >>> Covariates(parts).shapes
        [(4,)]
    """

    def __init__(
        self,
        parts: dict[str, tuple[nn.Module, int]],
        shapes: Sequence[Shape] | None = None,
    ):
        if shapes is not None:
            check_type("covariates", shapes, Sequence, "a list of shapes")
        declared = {role: _find_declared(part, own) for role, (part, own) in parts.items()}
        longest = max(declared.values(), key=len)

        self.shapes = list(longest if shapes is None else shapes)
        self.places = {role: self._place(role, d) for role, d in declared.items()}
        self.supports: dict[int, constraints.Constraint] = {}
        for role, (part, own) in parts.items():
            self._note_supports(role, part, own)

    def choose(self, role: str, covariates: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The covariates that a part is given.

        Raises:
            TypeError: if there are more or fewer covariates than the parts declare.
            ValueError: if a covariate has another shape.
        """
        self._check_shapes(covariates)

        return tuple(covariates[place] for place in self.places[role])

    def check(self, covariates: tuple[Tensor, ...]) -> None:
        """Look at all values: their shapes, and the supports that the parts declare.

        Raises:
            TypeError: if there are more or fewer covariates than the parts declare.
            ValueError: if a covariate has another shape, or a value that a part does not take.
        """
        self._check_shapes(covariates)

        for place, support in self.supports.items():
            values = covariates[place]
            bad = ~(support.check(values) & values.isfinite())
            if bad.any():
                rows = bad.reshape(len(bad), -1).any(1).nonzero().flatten().tolist()
                more = " and more" if len(rows) > 5 else ""
                raise ValueError(
                    f"data[{place + 1}]: expected finite values {describe(support)}, got "
                    f"{values[bad][0].item():g}, in rows {rows[:5]}{more}. Remove those rows."
                )

    def _check_shapes(self, covariates: tuple[Tensor, ...]) -> None:
        if len(covariates) != len(self.shapes):
            few = "x alone, its parts declare no covariate"
            several = f"x and {len(self.shapes)} covariate(s) of shapes {self.shapes}"
            raise TypeError(
                f"data: expected {several if self.shapes else few}, got x and {len(covariates)} "
                "more"
            )
        for place, (covariate, shape) in enumerate(zip(covariates, self.shapes, strict=True)):
            if tuple(covariate.shape[1:]) != shape:
                raise ValueError(
                    f"data[{place + 1}]: expected a covariate of shape {shape} in each row, got "
                    f"{tuple(covariate.shape[1:])}"
                )

    def _note_supports(self, role: str, part: nn.Module, own: int) -> None:
        declared = part.given_supports[own:] if isinstance(part, Conditional) else []
        for place, support in zip(self.places[role], declared, strict=True):
            if support is not None:
                self.supports[place] = support

    def _place(self, role: str, declared: list[Shape]) -> list[int]:
        """Where the variables that a part declares lie among the covariates."""
        places = list(_find_choices(declared, self.shapes))
        if not places:
            raise ValueError(
                f"{role}: it is given {declared} beyond its own variable, and the covariates are "
                f"{self.shapes}. Each part is given a choice of them, in their order."
            )
        if len(places) > 1:
            raise ValueError(
                f"{role}: it is given {declared}, which of the covariates {self.shapes} these are "
                "cannot be told from the shapes; give it all of them"
            )
        return places[0]


def _find_declared(part: nn.Module, own: int) -> list[Shape]:
    return part.given_shapes[own:] if isinstance(part, Conditional) else []


def _find_choices(declared: list[Shape], shapes: list[Shape], start: int = 0):
    """All ways to choose such shapes from a list, in order."""
    if not declared:
        yield []
        return
    for place in range(start, len(shapes)):
        if shapes[place] == declared[0]:
            for rest in _find_choices(declared[1:], shapes, place + 1):
                yield [place, *rest]
