"""Missing values: a likelihood that scores what is observed, and a network that is told what is not."""

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae import distributions
from pyro_vae.conditionals.family import Conditional
from pyro_vae.networks.network import Builder, Network, build, mlp


class missing(Conditional):
    r"""A likelihood for x in which NaN marks a missing cell: it scores the observed cells only.

    .. math:: \log p(x_\mathrm{obs} \mid z) = \sum_{j \in \mathrm{obs}} \log p(x_j \mid z)

    Right if cells are missing at random: whether one is may depend on what is observed, and on
    nothing else. The variational is told which are missing by `masked`. Draws of x are complete.
    With a mask in place of NaN, pass `x.masked_fill(~mask, torch.nan)`; counts and classes as
    floats. (Mattei & Frellsen, 2019)

    Use:
        likelihood: data with missing cells, NaN; the encoder is told by `masked`.

    Arguments:
        likelihood: p(x | z), independent over the cells of x given z, or a mixture of such.

    Raises:
        TypeError: if the likelihood is no conditional; when called, if its cells are not
            independent.

    Example:
        >>> import pyro_vae as pv
        >>> pv.missing(pv.Normal(3, given=2))
        missing(Normal((3,) | (2,)))
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.missing(pv.Normal(3, given=2)),
        ...     variational=pv.Normal(2, given=3, net=pv.masked(pv.networks.mlp)),
        ... )
        >>> x = torch.tensor([[0.0, torch.nan, 1.0], [2.0, 3.0, torch.nan]])
        >>> pv.Objective(vae)(x).isfinite().item()
        True
    """

    takes_missing = True

    def __init__(self, likelihood: Conditional):
        if not isinstance(likelihood, Conditional):
            raise TypeError(
                f"likelihood: expected a conditional, pv.Normal(3, given=2), got {likelihood!r}"
            )
        super().__init__(likelihood.event_shape, list(likelihood.given_shapes) or None)

        self.likelihood = likelihood

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        return distributions.Missing(self.likelihood(*given))

    def __repr__(self) -> str:
        return f"missing({self.likelihood!r})"


def masked(net: Builder = mlp) -> Builder:
    """A builder of networks that may be given NaN: they see zeros in its place, and masks that are 1 elsewhere.

    Arguments:
        net: The builder of the network itself, which is given every variable, and then the mask of
            each.

    Example:
        >>> q = masked(mlp)([(3,)], (4,))
        >>> q(torch.full((5, 3), torch.nan)).isfinite().all().item()
        True
    """

    def builder(given_shapes: list, out_shape: tuple) -> Network:
        inner = build(net, [*given_shapes, *given_shapes], out_shape)
        return Network(_ZerosAndMasks(inner), given_shapes, out_shape)

    return builder


class _ZerosAndMasks(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, *given: Tensor) -> Tensor:
        masks = [(~g.isnan()).to(g.dtype) for g in given]
        return self.net(*(torch.where(g.isnan(), 0.0, g) for g in given), *masks)
