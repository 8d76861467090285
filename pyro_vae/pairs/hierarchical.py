"""The hierarchical VAE (Burda, Grosse & Salakhutdinov, 2016; Sønderby et al., 2016)."""

from collections.abc import Sequence

import pyro
from torch import Tensor, nn

from pyro_vae.arguments import check_choice
from pyro_vae.pairs.parameters import register
from pyro_vae.pairs.parts import (
    check_parts,
    check_several,
    compare_shapes,
    compare_supports,
    find_event,
    find_given,
    write_story,
)
from pyro_vae.recipes import Recorded

ORDERS = ("bottom_up", "top_down")


class HierarchicalVAE(Recorded, nn.Module):
    r"""z2 ~ p(z2), z1 ~ p(z1 | z2), x ~ p(x | z1), with any number of levels.

    .. math:: p(x, z_1, \ldots, z_L) = p(z_L) \prod_{l < L} p(z_l \mid z_{l+1}) \, p(x \mid z_1)

    The variational goes bottom-up, z1 ~ q(z1 | x) and then z2 ~ q(z2 | z1), as in the IWAE of
    several layers. Or it goes top-down, z2 ~ q(z2 | x) and then z1 ~ q(z1 | x, z2), as in a ladder.

    Arguments:
        priors: p(z_L), ..., p(z_1 | z_2), from the top level down.
        likelihood: p(x | z_1).
        variationals: q in the order in which they are drawn. Bottom-up: q(z_1 | x), q(z_2 | z_1),
            ... Top-down: q(z_L | x), q(z_{L-1} | x, z_L), ...
        order: "bottom_up" or "top_down".
        encoder: A module that the top-down variationals share: they are given what it returns for x
            in place of x. By default they are given x itself.
        name: The name under which the parameters are registered with Pyro.

    Raises:
        ValueError: if there are no levels, as many priors as variationals are not given, the shapes
            or supports of the levels do not chain, or an encoder is given to a bottom-up order.

    Example:
        >>> HierarchicalVAE(
        ...     priors=[pv.StandardNormal(2), pv.Normal(4, given=2)],
        ...     likelihood=pv.Bernoulli(8, given=4),
        ...     variationals=[pv.Normal(4, given=8), pv.Normal(2, given=4)],
        ... )
        HierarchicalVAE(
          p(z2)    = StandardNormal((2,))
          p(z1|z2) = Normal((4,) | (2,))
          p(x|z1)  = Bernoulli((8,) | (4,))
          q(z1|x)  = Normal((4,) | (8,))
          q(z2|z1) = Normal((2,) | (4,))
        )
    """

    def __init__(
        self,
        *,
        priors: Sequence[nn.Module],
        likelihood: nn.Module,
        variationals: Sequence[nn.Module],
        order: str = "bottom_up",
        encoder: nn.Module | None = None,
        name: str = "hierarchical",
    ):
        super().__init__()

        shared = nn.Identity() if encoder is None else encoder
        check_parts(name, likelihood=likelihood, encoder=shared)
        check_choice("order", order, ORDERS)
        check_several("priors", priors, Sequence, "a list of modules")
        check_several("variationals", variationals, Sequence, "a list of modules")
        if not priors or len(priors) != len(variationals):
            raise ValueError(
                "priors: expected at least one, and as many as variationals, got "
                f"{len(priors)} and {len(variationals)}"
            )
        if encoder is not None and order == "bottom_up":
            raise ValueError(
                "encoder: the levels share it in the order 'top_down'; bottom-up only q(z1|x) is "
                "given x, so make it part of that one's net"
            )
        self.priors = nn.ModuleList(priors)
        self.likelihood = likelihood
        self.variationals = nn.ModuleList(variationals)
        self.order = order
        self.encoder = shared
        self.name = name
        self._fit_together(shares_x=encoder is None)

    @property
    def levels(self) -> list[str]:
        """The names of the latents, from the top level down."""
        return [f"z{level}" for level in range(len(self.priors), 0, -1)]

    def model(self, x: Tensor) -> Tensor:
        register(self, self.name)
        with pyro.plate("data", x.shape[0]):
            above: tuple[Tensor, ...] = ()
            for level, prior in zip(self.levels, self.priors, strict=True):
                above = (pyro.sample(level, prior(*above)),)
            return pyro.sample("x", self.likelihood(*above), obs=x)

    def guide(self, x: Tensor) -> None:
        register(self, self.name)
        with pyro.plate("data", x.shape[0]):
            if self.order == "bottom_up":
                self._draw_upwards(x)
            else:
                self._draw_downwards(self.encoder(x))

    def _draw_upwards(self, x: Tensor) -> None:
        below = x
        for level, variational in zip(reversed(self.levels), self.variationals, strict=True):
            below = pyro.sample(level, variational(below))

    def _draw_downwards(self, x: Tensor) -> None:
        above: tuple[Tensor, ...] = ()
        for level, variational in zip(self.levels, self.variationals, strict=True):
            above = (pyro.sample(level, variational(x, *above)),)

    def __repr__(self) -> str:
        parts: dict[str, object] = {}
        above = ""
        for level, prior in zip(self.levels, self.priors, strict=True):
            parts[f"p({level}|{above})" if above else f"p({level})"] = prior
            above = level
        parts["p(x|z1)"] = self.likelihood
        variationals = zip(self._list_labels(), self.variationals, strict=True)

        return write_story(type(self).__name__, parts | dict(variationals))

    def _list_labels(self) -> list[str]:
        """The variationals as they are written, in the order in which they are drawn."""
        if self.order == "bottom_up":
            given = ["x", *reversed(self.levels)]
            return [f"q({z}|{b})" for z, b in zip(reversed(self.levels), given, strict=False)]

        given = ["", *self.levels]
        labels = zip(self.levels, given, strict=False)
        return [f"q({z}|x,{above})" if above else f"q({z}|x)" for z, above in labels]

    def _fit_together(self, shares_x: bool) -> None:
        """Compare the shapes and supports along the levels, wherever a part says what they are."""
        is_upward = self.order == "bottom_up"
        ordered = list(reversed(self.variationals)) if is_upward else list(self.variationals)
        parts = list(zip(self.levels, self.priors, ordered, strict=True))
        below = [*self.priors[1:], self.likelihood]
        for (level, prior, variational), lower in zip(parts, below, strict=True):
            shapes = {
                "prior": find_event(prior),
                "variational": find_event(variational),
                "level below (given)": find_given(lower),
            }
            compare_shapes(level, shapes)
            compare_supports(level, prior, variational)
        self._compare_given(ordered, is_upward, shares_x)

    def _compare_given(self, ordered: list[nn.Module], is_upward: bool, shares_x: bool) -> None:
        """Compare what the variationals are given; `ordered` is from the top level down."""
        x = find_event(self.likelihood)
        if is_upward:
            below = [*ordered[1:], None]
            for variational, source in zip(ordered, below, strict=True):
                event = x if source is None else find_event(source)
                compare_shapes(
                    "what a variational is given",
                    {"given": find_given(variational), "level below": event},
                )
            return
        source = {"x": x} if shares_x else {"first variational (given)": find_given(ordered[0])}
        for place, variational in enumerate(ordered):
            shapes = source | {"variational (given)": find_given(variational)}
            compare_shapes("x" if shares_x else "what the encoder returns", shapes)
            if place:
                above = find_event(ordered[place - 1])
                compare_shapes(
                    "the level above",
                    {"level": above, "variational (given)": find_given(variational, 1)},
                )
