"""Mixtures of one family."""

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch import distributions as td
from torch.distributions import constraints

LOCATION_SCALE = (td.Normal, td.Laplace, td.Cauchy, td.Gumbel, dist.Logistic)
GAUSSIAN = (td.MultivariateNormal, td.LowRankMultivariateNormal)


class Mixture(dist.MixtureSameFamily):
    r"""`MixtureSameFamily` with the support of its components, and reparametrised draws if it can.

    .. math:: \nabla_\phi z_d = - \frac{\nabla_\phi F(z_d \mid z_{<d}; \phi)}{p(z_d \mid z_{<d})},
        \qquad
        F(z_d \mid z_{<d}) = \sum_c p(c \mid z_{<d}) \, F_c(z_d \mid z_{<d})

    The gradient of a draw follows implicitly from the conditional distribution functions, one
    dimension after the other. It includes the gradient of the weights. The functions are known for
    normal (diagonal, full, low rank), Laplace, logistic, Cauchy and Gumbel components. For any
    other mixture `has_rsample` is False. (Graves, 2016; Figurnov, Mohamed & Mnih, 2018)

    torch wraps the components' support in a constraint that has no bijection to the reals. This
    class does not.

    Example:
        >>> components = dist.Normal(torch.tensor([-2.0, 2.0]), torch.ones(2))
        >>> Mixture(dist.Categorical(torch.ones(2)), components).has_rsample
        True
    """

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return self.component_distribution.support

    @property
    def has_rsample(self) -> bool:
        return isinstance(self._base(), LOCATION_SCALE + GAUSSIAN)

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        if not self.has_rsample:
            raise NotImplementedError(
                f"a mixture of {type(self._base()).__name__} has no reparametrised draws"
            )

        z = self.sample(sample_shape)
        if not torch.is_grad_enabled():
            return z

        return self._attach_gradient(z)

    def _base(self) -> td.Distribution:
        base = self.component_distribution
        while isinstance(base, td.Independent):
            base = base.base_dist
        return base

    def _flatten(self, a: Tensor) -> Tensor:
        lead = a.shape[: a.dim() - self._event_ndims]

        return a.reshape(lead + (self.event_shape.numel(),))

    def _attach_gradient(self, z: Tensor) -> Tensor:
        """The same draws, with the gradient that they have in the parameters."""
        base = self._base()
        if isinstance(base, GAUSSIAN):
            x = self._follow_rows(base, z)
        else:
            x = self._follow(base, z)

        return torch.cat(x, -1).reshape(z.shape)

    def _follow(self, base: td.Distribution, z: Tensor) -> list[Tensor]:
        """The dimensions of draws, of components that are independent over dimensions."""
        kind, loc, scale = type(base), self._flatten(base.loc), self._flatten(base.scale)
        log_w = self.mixture_distribution.logits

        x = []
        for d, value in enumerate(self._flatten(z).unbind(-1)):
            p = kind(loc[..., d], scale[..., d], validate_args=False)
            value = _follow_one(value.unsqueeze(-1), log_w, p)
            log_w = log_w + p.log_prob(value)
            x.append(value)

        return x

    def _follow_rows(self, base: td.Distribution, z: Tensor) -> list[Tensor]:
        """The dimensions of draws, of normals with the lower factor `scale_tril`.

        Within a vector a dimension has, given those before it, the mean μ_d + Σ_{i<d} L_di ε_i.
        """
        loc = self._flatten(base.loc)
        tril = base.scale_tril
        size = tril.shape[-1]
        scale = self._flatten(tril.diagonal(dim1=-2, dim2=-1))
        tril = tril.reshape(scale.shape + (size,))
        log_w = self.mixture_distribution.logits

        x: list[Tensor] = []
        noise: list[Tensor] = []
        for d, value in enumerate(self._flatten(z).unbind(-1)):
            before = d % size
            mean = loc[..., d]
            if before:
                epsilon = torch.stack(noise[d - before : d], -1)
                mean = mean + (tril[..., d, :before] * epsilon).sum(-1)
            p = dist.Normal(mean, scale[..., d], validate_args=False)
            value = _follow_one(value.unsqueeze(-1), log_w, p)
            log_w = log_w + p.log_prob(value)
            x.append(value)
            noise.append((value - mean) / p.scale)

        return x


def _follow_one(value: Tensor, log_w: Tensor, p: td.Distribution) -> Tensor:
    """A number drawn from a mixture of p, with the gradient that it has in its parameters."""
    w = log_w.softmax(-1)
    cdf = (w * p.cdf(value)).sum(-1, keepdim=True)
    density = (w * p.log_prob(value).exp()).sum(-1, keepdim=True).detach()
    tiny = torch.finfo(density.dtype).tiny

    return value - (cdf - cdf.detach()) / density.clamp(min=tiny)
