"""Counts out of a total that is known of each datum: a likelihood with an exposure."""

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import pad

from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.conditionals.family import Family
from pyro_vae.networks import leading_shape


class exposed(Conditional):
    r"""A likelihood of counts whose means are shares of an exposure, the library size of a cell.

    .. math:: \mu_g = \ell \, \rho_g(z), \qquad \rho = \mathrm{softmax}(\text{what the network
        returns})

    The exposure ℓ is one more variable that is given, the last one, a positive number for each
    datum. It is a covariate: p(x | z, ℓ). So draws of x have means that add up to ℓ, and every
    measurement is about p(x | ℓ). (Lopez, Regier, Cole, Jordan & Yosef, 2018)

    Use:
        likelihood: counts of genes, words or clicks out of totals that differ from datum to datum.

    Arguments:
        likelihood: p(x | z) by the logarithm of its mean, `GammaPoisson` or
            `ZeroInflatedGammaPoisson`.
        others: Whether ℓ counts others too, such as genes that x leaves out. Their share is then
            one more term of the softmax, and the means add up to less than ℓ.

    Raises:
        TypeError: if the likelihood has no `log_mean` that a network computes.

    Example:
        >>> import pyro_vae as pv
        >>> pv.exposed(pv.GammaPoisson(50, given=[2, 3], dispersion="free"))
        exposed(GammaPoisson((50,) | (2,), (3,), dispersion=free))
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.exposed(pv.GammaPoisson(50, given=2, dispersion="free")),
        ...     variational=pv.Normal(2, given=50, net=pv.networks.logged(pv.networks.mlp)),
        ... )
        >>> size = torch.tensor([100.0, 200.0])
        >>> pv.simulate(vae, 2, given=size, mean=True)["x"].sum(-1)
        tensor([100.0000, 200.0000])
    """

    def __init__(self, likelihood: Family, others: bool = False):
        if not isinstance(likelihood, Family) or "log_mean" not in likelihood.layout.computed:
            raise TypeError(
                "likelihood: expected counts by the logarithm of a mean that is computed, "
                f"pv.GammaPoisson(50, given=2), got {likelihood!r}"
            )
        super().__init__(likelihood.event_shape, [*likelihood.given_shapes, ()])

        self.likelihood = likelihood
        self.others = others

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        leading_shape(given, self.given_shapes)  # refuses what it was not declared with
        *rest, size = given
        layout = self.likelihood.layout

        values = layout.parametrise(self.likelihood.compute_numbers(*rest))
        values["log_mean"] = self._share_out(values["log_mean"], size)
        return self._check_shapes(layout.distribute(values), given)

    def _share_out(self, numbers: Tensor, size: Tensor) -> Tensor:
        """log ℓ + log ρ, over all entries of the event."""
        dims = len(self.event_shape)
        flat = numbers.flatten(-dims) if dims else numbers.unsqueeze(-1)
        if self.others:
            log_share = pad(flat, (0, 1)).log_softmax(-1)[..., :-1]
        else:
            log_share = flat.log_softmax(-1)

        log_mean = log_share + size.to(flat.dtype).log().unsqueeze(-1)
        return log_mean.reshape(*log_mean.shape[:-1], *self.event_shape)

    @property
    def support(self) -> constraints.Constraint:
        return self.likelihood.support

    @property
    def given_supports(self) -> list[constraints.Constraint | None]:
        return [*self.likelihood.given_supports, constraints.positive]

    def __repr__(self) -> str:
        others = ", others=True" if self.others else ""
        return f"exposed({self.likelihood!r}{others})"
