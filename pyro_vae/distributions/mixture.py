"""Mixtures of one family."""

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch import distributions as td
from torch.distributions import constraints

LOCATION_SCALE = (td.Normal, td.Laplace, td.Cauchy, td.Gumbel, dist.Logistic)
GAUSSIAN = (td.MultivariateNormal, td.LowRankMultivariateNormal)


class Mixture(dist.MixtureSameFamily):
    r"""`MixtureSameFamily`, whose support is that of its components, and whose draws are
    reparametrised if it can.

    .. math:: \nabla_\phi z_d = - \frac{\nabla_\phi F(z_d \mid z_{<d}; \phi)}{p(z_d \mid z_{<d})},
    \qquad
        F(z_d \mid z_{<d}) = \sum_c p(c \mid z_{<d}) \, F_c(z_d \mid z_{<d})

    The gradient of a draw follows implicitly from the conditional distribution functions, one
    dimension after the other, and includes that of the weights. They are known for normal
    (diagonal, full, low rank), Laplace, logistic, Cauchy and Gumbel components; of any other
    mixture `has_rsample` is False. (Graves, 2016; Figurnov, Mohamed & Mnih, 2018)

    torch wraps the components' support in a constraint that has no bijection to the reals; this one
    does not.

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
        return self._follow(z) if torch.is_grad_enabled() else z

    def _base(self) -> td.Distribution:
        base = self.component_distribution
        while isinstance(base, td.Independent):
            base = base.base_dist
        return base

    def _follow(self, z: Tensor) -> Tensor:
        """The same draws, with the gradient that they have in the parameters."""
        base, numbers = self._base(), self.event_shape.numel()

        def flat(a: Tensor) -> Tensor:
            return a.reshape(a.shape[: a.dim() - self._event_ndims] + (numbers,))

        loc, kind, tril = flat(base.loc), type(base), None
        if isinstance(base, GAUSSIAN):
            kind, tril = dist.Normal, base.scale_tril
            size = tril.shape[-1]
            scale = flat(tril.diagonal(dim1=-2, dim2=-1))
            tril = tril.reshape(scale.shape + (size,))
        else:
            scale = flat(base.scale)

        log_w, x, noise = self.mixture_distribution.logits, [], []
        for d, value in enumerate(flat(z).unbind(-1)):
            mean = loc[..., d]
            if tril is not None:
                row = d % size
                if row:
                    mean = mean + (tril[..., d, :row] * torch.stack(noise[d - row : d], -1)).sum(-1)
            p = kind(mean, scale[..., d], validate_args=False)
            w, value = log_w.softmax(-1), value.unsqueeze(-1)
            cdf = (w * p.cdf(value)).sum(-1, keepdim=True)
            density = (w * p.log_prob(value).exp()).sum(-1, keepdim=True).detach()
            value = value - (cdf - cdf.detach()) / density.clamp(
                min=torch.finfo(density.dtype).tiny
            )
            log_w = log_w + p.log_prob(value)
            x.append(value)
            if tril is not None:
                noise.append((value - mean) / p.scale)

        return torch.cat(x, -1).reshape(z.shape)
