"""Proportions, which add up to one."""

import pyro.distributions as dist
import torch
from torch import Size, Tensor


class Dirichlet(dist.Dirichlet):
    r"""The Dirichlet, drawn in logarithms, so that no proportion is exactly zero.

    .. math:: a = \mathrm{softmax}(\log g), \qquad \log g_k = \log g'_k + \frac{\log u_k}{\alpha_k},
        \;
        g'_k \sim \mathrm{Gamma}(\alpha_k + 1), \; u_k \sim \mathrm{Uniform}(0, 1)

    torch's draws underflow at small α, and its sampler cannot be exported. These draws are
    reparametrised, implicitly in g'. (Marsaglia & Tsang, 2000; Figurnov, Mohamed & Mnih, 2018)

    Example:
        >>> q = Dirichlet(torch.full((5,), 0.01))
        >>> bool(q.log_prob(q.sample((1000,))).isfinite().all())
        True
    """

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        alpha = self.concentration.expand(self._extended_shape(sample_shape))
        tiny = torch.finfo(alpha.dtype).tiny

        log_gamma = torch._standard_gamma(alpha + 1).log()
        log_uniform = torch.rand_like(alpha).clamp(min=tiny).log()
        log_g = log_gamma + log_uniform / alpha

        return log_g.softmax(-1).clamp(min=tiny)
