"""Semi-amortised variationals."""

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.arguments import check_positive, check_whole
from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.conditionals.family import Family
from pyro_vae.conditionals.real import Normal, StandardNormal  # noqa: F401  for the example


class Refined(Conditional):
    r"""A variational improved for each datum by steps of gradient ascent on its ELBO.

    .. math:: \lambda_{t+1} = \lambda_t + \eta \, \frac{g_t}{\max(1, \lVert g_t \rVert)}, \qquad
        g_t = \nabla_\lambda E_{q_\lambda(z)}[\log p(x, z) - \log q_\lambda(z)]

    This is semi-amortised inference. λ are the numbers that the encoder returned, before they are
    constrained. The steps are taken without gradient: the encoder is trained with the gradient at
    the refined λ, as if it had returned it. That is the first-order form of the published method.

    Prior and likelihood are the pair's own, the same objects. Wherever the steps end, the result is
    a q, so the bounds hold. A pair with it runs, trains and is measured as any other. It cannot be
    exported, because its call takes gradients. (Kim, Wiseman, Miller, Sontag & Rush, 2018)

    Use:
        variational: where the encoder is what is missing: the amortisation gap is large.

    Arguments:
        variational: q(z | x), a family with reparametrised draws, given x.
        prior, likelihood: p(z) and p(x | z).
        steps: How many.
        learning_rate: η.
        num_particles: Draws of z in each gradient.

    Raises:
        TypeError: if the variational is no family, as `Flow` is none, or an option is no number.
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
        _check_variational(variational)
        super().__init__(variational.event_shape, list(variational.given_shapes))

        self.steps = check_whole("steps", steps)
        self.num_particles = check_whole("num_particles", num_particles)
        self.learning_rate = check_positive("learning_rate", learning_rate)
        self.variational = variational
        self.prior = prior
        self.likelihood = likelihood

    @property
    def support(self) -> constraints.Constraint:
        return self.variational.support

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        if torch.compiler.is_compiling():
            raise RuntimeError(
                f"{self} takes gradients when it is called, which no compiled graph can"
            )

        start = self.variational.compute_numbers(x)
        end = self._refine(start.detach(), x)
        # the value of the end, with the gradient of the start
        numbers = start + (end - start.detach())

        return self._check_shapes(self.variational.layout.at(numbers), (x,))

    def options(self) -> dict[str, object]:
        return {"variational": type(self.variational).__name__, "steps": self.steps}

    def _refine(self, numbers: Tensor, x: Tensor) -> Tensor:
        with torch.enable_grad():
            for _ in range(self.steps):
                numbers = numbers.requires_grad_()
                (g,) = torch.autograd.grad(self._elbo(numbers, x).sum(), numbers)
                norm = g.square().sum(-1, keepdim=True).sqrt()
                step = self.learning_rate * g / norm.clamp(min=1)
                numbers = (numbers + step).detach()

        return numbers

    def _elbo(self, numbers: Tensor, x: Tensor) -> Tensor:
        q = self.variational.layout.at(numbers)
        z = q.rsample((self.num_particles,))
        log_joint = self.likelihood(z).log_prob(x) + self.prior().log_prob(z)

        return (log_joint - q.log_prob(z)).mean(0)


def _check_variational(variational: Family) -> None:
    if not isinstance(variational, Family) or len(variational.given_shapes) != 1:
        raise TypeError(
            "variational: expected a family given x alone, pv.Normal(..., given=...) for one, got "
            f"{variational!r}"
        )
    if not variational.layout.example().has_rsample:
        raise ValueError(
            f"variational: {type(variational).__name__} has no reparametrised draws, so there is "
            "no gradient to follow; take pv.Normal or another with rsample"
        )
