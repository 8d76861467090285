"""Semi-amortised variationals."""

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.conditionals.family import Conditional, Family
from pyro_vae.conditionals.table import Normal, StandardNormal  # noqa: F401


class Refined(Conditional):
    r"""A variational improved for each datum by steps of gradient ascent on its ELBO
    (semi-amortised inference).

    .. math:: \lambda_{t+1} = \lambda_t + \eta \, \frac{g_t}{\max(1, \lVert g_t \rVert)}, \qquad
        g_t = \nabla_\lambda E_{q_\lambda(z)}[\log p(x, z) - \log q_\lambda(z)]

    λ are the numbers that the encoder returned, before they are constrained. The steps are taken
    without gradient: the encoder is trained with the gradient at the refined λ, as if it had
    returned it, which is the first-order form of the published method. Prior and likelihood are the
    pair's own, the same objects. Any variational whose steps end elsewhere is still a q: the bounds
    hold. A pair with it runs, trains and is measured as any other; it cannot be exported, for its
    call takes gradients. (Kim, Wiseman, Miller, Sontag & Rush, 2018)

    Use:
        variational: where the encoder is what is missing: the amortisation gap is large.

    Arguments:
        variational: q(z | x), a family with reparametrised draws, given x.
        prior, likelihood: p(z) and p(x | z).
        steps: How many.
        learning_rate: η.
        num_particles: Draws of z in each gradient.

    Raises:
        TypeError: if the variational is no family, as `Flow` is none.
        ValueError: if it has no reparametrised draws, or an option is not positive.
        RuntimeError: when called, if it is being exported or compiled.

    Example:
        >>> prior, likelihood = StandardNormal(2), Normal(3, given=2)
        >>> q = Refined(Normal(2, given=3), prior, likelihood, steps=5)
        >>> q
        Refined((2,) | (3,), variational=Normal, steps=5)
        >>> q(torch.zeros(7, 3)).batch_shape
        torch.Size([7])
    """

    def __init__(
        self,
        variational: Family,
        prior: nn.Module,
        likelihood: nn.Module,
        steps: int,
        *,
        learning_rate: float = 0.1,
        num_particles: int = 4,
    ):
        if not isinstance(variational, Family) or len(variational.given_shapes) != 1:
            raise TypeError(
                f"variational: expected a family given x alone, pv.Normal(..., given=...) for one, got {variational!r}"
            )
        super().__init__(variational.event_shape, list(variational.given_shapes))

        if not variational.example().has_rsample:
            raise ValueError(
                f"variational: {type(variational).__name__} has no reparametrised draws, so there is no gradient to "
                "follow; take pv.Normal or another with rsample"
            )
        for name, value in (("steps", steps), ("num_particles", num_particles)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a positive whole number, got {value!r}")
        if not 0 < learning_rate < float("inf"):
            raise ValueError(f"learning_rate: expected a positive number, got {learning_rate!r}")
        self.variational, self.prior, self.likelihood = variational, prior, likelihood
        self.steps, self.learning_rate, self.num_particles = steps, learning_rate, num_particles

    @property
    def support(self) -> constraints.Constraint:
        return self.variational.support

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        if torch.compiler.is_compiling():
            raise RuntimeError(
                f"{self} takes gradients when it is called, which no compiled graph can"
            )
        start = self.variational.raw_from(x)
        raw = start.detach()
        with torch.enable_grad():
            for _ in range(self.steps):
                raw = raw.requires_grad_()
                (g,) = torch.autograd.grad(self._elbo(raw, x).sum(), raw)
                norm = g.square().sum(-1, keepdim=True).sqrt()
                raw = (raw + self.learning_rate * g / norm.clamp(min=1)).detach()

        return self._checked(self.variational.at(start + (raw - start.detach())), (x,))

    def _elbo(self, raw: Tensor, x: Tensor) -> Tensor:
        q = self.variational.at(raw)
        z = q.rsample((self.num_particles,))
        return (self.likelihood(z).log_prob(x) + self.prior().log_prob(z) - q.log_prob(z)).mean(0)

    def options(self) -> dict[str, object]:
        return {"variational": type(self.variational).__name__, "steps": self.steps}
