"""Objectives that shape the KL term of the ELBO."""

from collections.abc import Callable

import torch
from torch import Tensor

from pyro_vae.arguments import check_choice, check_whole, check_within
from pyro_vae.objectives.bound import Bound
from pyro_vae.objectives.kl import (
    find_kl,
    find_kl_by_dimension,
    find_presence,
    split_dimensions,
    sum_kl,
)
from pyro_vae.objectives.run import Run
from pyro_vae.objectives.schedules import Scheduled


class FreeBits(Bound):
    r"""The ELBO in which each KL term may use some nats for free, so that latents stay in use.

    .. math:: E_q[\log p(x|z)] - \sum_j \max(\lambda, \overline{KL}_j)

    KL_j is the mean over the batch, of one number of z or of one latent. It is in closed form
    where there is one. Rows in which a mask hides the latent have no part in it, and do not pay for
    it. The bound is no larger than the ELBO, so it is still a lower bound, a loose
    one. (Kingma et al., 2016)

    Use:
        objective: against unused latents, without a schedule.

    Arguments:
        nats: λ, what each term may use for free.
        per: "dimension" takes each number of z as a term. q and p must then both be independent
            over them. "site" takes each latent as a whole.
        num_samples: See `Bound`.

    Raises:
        ValueError: if `nats` is negative or not finite, or a latent is not independent over its
            dimensions; see `Bound`.

    Example:
        >>> pv.Objective(vae, FreeBits(0.25))(x).shape
        torch.Size([])
    """

    is_average = True

    def __init__(self, nats: float, per: str = "dimension", num_samples: int = 1):
        check_choice("per", per, ("dimension", "site"))

        super().__init__(num_samples)
        self.nats = check_within("nats", nats, 0.0)
        self.per = per

    def per_datum(self, run: Run) -> Tensor:
        kl = find_kl(run) if self.per == "site" else find_kl_by_dimension(run)
        cost = sum(self._find_cost(run, name, term) for name, term in kl.items())

        return run.weights.log_likelihood.mean(0) - cost

    def _find_cost(self, run: Run, name: str, kl: Tensor) -> Tensor:
        """What a latent costs each datum, `[data]` or a scalar for all of them."""
        kl = kl.reshape(*run.shape, -1)
        is_there = find_presence(run, name)
        if is_there is None:
            return kl.mean((0, 1)).clamp(min=self.nats).sum()

        mean = kl.sum((0, 1)) / is_there.sum().clamp(min=1)
        return is_there.to(kl).mean(0) * mean.clamp(min=self.nats).sum()


class Capacity(Bound, Scheduled):
    r"""The ELBO with its KL held at a capacity, which usually rises in training.

    .. math:: E_q[\log p(x|z)] - \gamma \, |\overline{KL}(q(z|x) \,\|\, p(z)) - C|

    The latents then come into use one by one. The KL is the mean over the batch, in closed form
    where there is one. Elsewhere the noise of the draws biases its absolute distance. It is no
    bound on log p(x). (Burgess et al., 2018)

    Use:
        objective: latents that come into use one by one, at a KL that is chosen.

    Arguments:
        gamma: The weight, at least 0.
        capacity: C in nats, or a function of the number of training steps done so far,
            `linear(10_000, to=25.0)`.
        num_samples: See `Bound`.

    Attributes:
        steps: Training steps done so far, a buffer.
        nats: C at the last of them, a buffer. A compiled graph reads nothing else. An eager call
            with gradients begins with `advance`. Whoever runs a compiled one calls it before.

    Raises:
        ValueError: if gamma or the capacity is negative or not finite; see `Bound`.

    Example:
        >>> objective = pv.Objective(vae, Capacity(10.0, pv.linear(4, to=2.0)))
        >>> _ = objective(x), objective(x)
        >>> objective.elbo.nats
        tensor(0.5000)
    """

    bound = None
    nats: Tensor

    def __init__(
        self, gamma: float, capacity: float | Callable[[int], float], num_samples: int = 1
    ):
        Scheduled.__init__(self)
        Bound.__init__(self, num_samples)

        self.gamma = check_within("gamma", gamma, 0.0)
        self.capacity = capacity if callable(capacity) else lambda step: capacity
        self.register_buffer("nats", torch.tensor(self._find_nats(0)))

    def per_datum(self, run: Run) -> Tensor:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self.advance()

        kl = sum_kl(run).mean()
        return run.weights.log_likelihood.mean(0) - self.gamma * (kl - self.nats).abs()

    def advance(self) -> None:
        """In training mode, set the capacity of the next step and count that step.

        Do not call it between a loss and its gradients.
        """
        if self.training:
            self.nats.fill_(self._find_nats(int(self.steps)))
            self.steps += 1

    def _find_nats(self, step: int) -> float:
        return check_within("capacity", self.capacity(step), 0.0)


class TotalCorrelation(Bound):
    r"""The ELBO with a weight on the total correlation of q(z).

    .. math:: E_q[\log p(x|z)] - I_q(x; z) - \beta \, KL(q(z) \,\|\, \prod_j q(z_j))
        - E_{q(z)}\Bigl[\sum_j \log q(z_j) - \log p(z)\Bigr]

    It makes latents independent of each other. q(z) is the mean of q(z | x) over the data, and is
    estimated from the minibatch. At beta = 1 the value is the ELBO. At any other beta it is no
    bound on log p(x), because it holds the logarithm of an estimate. The last term is
    Σ KL(q(z_j) ‖ p(z_j)) where the prior is independent over dimensions. It need not be. (Chen, Li,
    Grosse & Duvenaud, 2018)

    Use:
        objective: latents that are independent of each other, at less cost to what they say than
            beta.

    Arguments:
        beta: The weight, at least 0.
        num_data: How many data there are in all, N. A batch is a part of them.
        estimator: "weighted" is :math:`\hat q(z) = \frac{1}{Nn} \sum_i q(z | x_i)`. "stratified" is
            unbiased for q(z) over batches of at least two data, drawn without replacement.

    Raises:
        ValueError: if beta is negative or not finite, `num_data` is below the rows of a batch, or q
            has several latents, or one that is masked or not independent over its dimensions; see
            `Bound`.

    Example:
        >>> pv.Objective(vae, TotalCorrelation(6.0, num_data=60_000))(x).shape
        torch.Size([])
    """

    bound = None

    def __init__(self, beta: float, num_data: int, estimator: str = "weighted"):
        check_choice("estimator", estimator, ("weighted", "stratified"))

        super().__init__()
        self.beta = check_within("beta", beta, 0.0)
        self.num_data = check_whole("num_data", num_data)
        self.estimator = estimator

    def per_datum(self, run: Run) -> Tensor:
        self._check_run(run)
        n = run.shape[1]
        ((name, (q, _)),) = run.latents.items()

        each = split_dimensions(name, q["fn"]).log_prob(q["value"].unsqueeze(1)).reshape(n, n, -1)
        log_weight = self._find_log_weights(each)
        log_q_z = (log_weight + each.sum(-1)).logsumexp(1)
        log_product = (log_weight.unsqueeze(-1) + each).logsumexp(1).sum(-1)
        total_correlation = log_q_z - log_product

        return run.weights.log_weight.squeeze(0) - (self.beta - 1) * total_correlation

    def _check_run(self, run: Run) -> None:
        if len(run.latents) != 1:
            names = ", ".join(run.latents) or "none"
            raise ValueError(f"the total correlation is of one latent, got {names}")
        _refuse_hidden(run)

        n = run.shape[1]
        if not isinstance(n, int):
            return  # a symbolic size, in a compiled loss
        if self.estimator == "stratified" and n < 2:
            raise ValueError(
                "x: the stratified estimator needs batches of at least 2 rows, got 1; take another "
                "batch_size, or estimator='weighted'"
            )
        if n > self.num_data:
            raise ValueError(
                f"num_data: expected the number of all data, at least the {n} rows of this batch"
            )

    def _find_log_weights(self, each: Tensor) -> Tensor:
        """The logarithm of what q(z_i | x_j) counts in q(z_i), `[n, n]`."""
        n, total = each.shape[0], self.num_data
        if self.estimator == "weighted":
            return -each.new_full((n, n), 1.0).mul(n * total).log()

        others = n - 1
        row = torch.arange(n, device=each.device)
        ahead = (row - row.unsqueeze(1)) % n
        w = each.new_ones(n, n) / others
        w = torch.where(ahead == 0, 1 / total, w)
        w = torch.where(ahead == 1, (total - others) / (total * others), w)
        return w.log()


def gaussian_kernel(a: Tensor, b: Tensor) -> Tensor:
    r"""exp(-‖a - b‖² / 2d) for each row of a `[n, d]` and each row of b `[m, d]`, `[n, m]`.

    Example:
        >>> gaussian_kernel(torch.zeros(1, 2), torch.ones(3, 2)).shape
        torch.Size([1, 3])
    """
    distance = (a.unsqueeze(1) - b.unsqueeze(0)).square().mean(-1)
    return (-distance / 2).exp()


class MMD(Bound):
    r"""The ELBO with the maximum mean discrepancy of q(z) and p(z) in place of its KL (InfoVAE).

    .. math:: E_q[\log p(x|z)] - (1 - \alpha) KL(q(z|x) \,\|\, p(z))
        - \lambda \, \mathrm{MMD}^2(q(z), p(z))

    MMD² = E k(z, z') + E k(u, u') - 2 E k(z, u) with z ~ q(z) and u ~ p(z). The means are over all
    pairs of the batch and as many draws of the prior, the diagonals included, as in the authors'
    code. It is no bound on log p(x). A prior without reparametrised draws gets no gradient from the
    MMD. (Zhao, Song & Ermon, 2019; their α + λ - 1 is λ here)

    Use:
        objective: where the KL would silence the latents: only q(z) as a whole is held to the
            prior.

    Arguments:
        weight: λ, at least 0, in nats per datum.
        kernel: A function of `[n, d]` and `[m, d]` that returns `[n, m]`.
        alpha: How much of the KL is left out, in [0, 1]. By default all of it.

    Raises:
        ValueError: if `weight` is negative or not finite, `alpha` is not in [0, 1], or a latent
            is masked; see `Bound`.
        TypeError: if `kernel` cannot be called.

    Example:
        >>> pv.Objective(vae, MMD(100.0))(x).shape
        torch.Size([])
    """

    bound = None

    def __init__(
        self,
        weight: float,
        kernel: Callable[[Tensor, Tensor], Tensor] = gaussian_kernel,
        alpha: float = 1.0,
    ):
        if not callable(kernel):
            raise TypeError(
                f"kernel: expected a function of two tensors [n, d] and [m, d], got {kernel!r}"
            )

        super().__init__()
        self.weight = check_within("weight", weight, 0.0)
        self.alpha = check_within("alpha", alpha, 0.0, 1.0)
        self.kernel = kernel

    def per_datum(self, run: Run) -> Tensor:
        _refuse_hidden(run)
        from_prior = run.draw_from_prior()
        from_q = {name: q["value"] for name, (q, _) in run.latents.items()}
        z, u = _flatten(run, from_q), _flatten(run, from_prior)

        k = self.kernel
        mmd = k(z, z).mean() + k(u, u).mean() - 2 * k(z, u).mean()
        kl = sum_kl(run).mean(0)

        return run.weights.log_likelihood.mean(0) - (1 - self.alpha) * kl - self.weight * mmd


def _refuse_hidden(run: Run) -> None:
    """Refuse a latent that a mask hides in some rows."""
    for name in run.latents:
        if find_presence(run, name) is not None:
            raise ValueError(
                f"latent {name!r} is masked, so q(z) has no density, which this objective holds "
                "against p(z); take pv.EvidenceLowerBound() or pv.FreeBits(nats)"
            )


def _flatten(run: Run, values: dict[str, Tensor]) -> Tensor:
    """All latents of a datum as one vector, `[n, d]`."""
    return torch.cat([values[name].reshape(run.shape[1], -1) for name in run.latents], -1)
