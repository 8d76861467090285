"""Objectives that shape the KL term of the ELBO."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, kl_divergence

from pyro_vae.arguments import check_whole, check_within
from pyro_vae.objectives.bound import Bound, Run, family_name


class FreeBits(Bound):
    r"""The ELBO in which a KL term costs nothing less than so many nats, so that latents stay in
    use.

    .. math:: E_q[\log p(x|z)] - \sum_j \max(\lambda, \overline{KL}_j)

    KL_j is the mean over the batch, of one number of z or of one latent. No larger than the ELBO,
    so still a lower bound, a loose one. KLs are in closed form where there is one. (Kingma et al.,
    2016)

    Use:
        objective: against unused latents, without a schedule.

    Arguments:
        nats: λ, what each term may use for free.
        per: "dimension", each number of z, for which q and p must both be independent over them, or
            "site", each latent as a whole.
        num_samples: See `Bound`.

    Raises:
        ValueError: if `nats` is negative or not finite, or a latent is not independent over its
            dimensions; see `Bound`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2), likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3)
        ... )
        >>> pv.Objective(vae, FreeBits(0.25))(torch.ones(5, 3)).shape
        torch.Size([])
    """

    def __init__(self, nats: float, per: str = "dimension", num_samples: int = 1):
        super().__init__(num_samples)
        self.nats = check_within("nats", nats, 0.0)
        if per not in ("dimension", "site"):
            raise ValueError(f"per: expected 'dimension' or 'site', got {per!r}")
        self.per = per

    def per_datum(self, run: Run) -> Tensor:
        kl = run.kl() if self.per == "site" else _kl_by_dimension(run)
        means = (term.reshape(*run.shape, -1).mean((0, 1)) for term in kl.values())
        return run.log_likelihood.mean(0) - sum(mean.clamp(min=self.nats).sum() for mean in means)


class Capacity(Bound, nn.Module):
    r"""The KL held at a capacity, which usually rises in training, so that latents come into use
    one by one.

    .. math:: E_q[\log p(x|z)] - \gamma \, |\overline{KL}(q(z|x) \,\|\, p(z)) - C|

    The KL is the mean over the batch, in closed form where there is one; elsewhere its absolute
    distance is biased by the noise of the draws. No bound on log p(x). (Burgess et al., 2018)

    Use:
        objective: latents that come into use one by one, at a KL that is chosen.

    Arguments:
        gamma: The weight, at least 0.
        capacity: C in nats, or a function of the number of training steps done so far,
            `linear(10_000, to=25.0)`.
        num_samples: See `Bound`.

    Attributes:
        steps, nats: Buffers: training steps done, and C at the last of them, which is all that a
            compiled graph reads. An eager call in training mode, with gradients, begins by
            advancing them; who runs a compiled one calls `advance()` before it.

    Raises:
        ValueError: if gamma or the capacity is negative or not finite; see `Bound`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2), likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3)
        ... )
        >>> objective = pv.Objective(vae, Capacity(10.0, pv.linear(4, to=2.0)))
        >>> _ = objective(torch.ones(5, 3)), objective(torch.ones(5, 3))
        >>> objective.elbo.nats
        tensor(0.5000)
    """

    bound = None
    steps: Tensor
    nats: Tensor

    def __init__(
        self, gamma: float, capacity: float | Callable[[int], float], num_samples: int = 1
    ):
        nn.Module.__init__(self)
        super().__init__(num_samples)

        self.gamma = check_within("gamma", gamma, 0.0)
        self.capacity = capacity if callable(capacity) else lambda step: capacity
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("nats", torch.tensor(check_within("capacity", self.capacity(0), 0.0)))

    def per_datum(self, run: Run) -> Tensor:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self.advance()
        distance = (sum(run.kl().values()).mean() - self.nats).abs()
        return run.log_likelihood.mean(0) - self.gamma * distance

    def advance(self) -> None:
        """In training mode, set the capacity of the next step and count it; not between a loss and its gradients."""
        if self.training:
            self.nats.fill_(check_within("capacity", self.capacity(int(self.steps)), 0.0))
            self.steps += 1


class TotalCorrelation(Bound):
    r"""The ELBO with a weight on the total correlation of q(z), for latents that are independent of
    each other.

    .. math:: E_q[\log p(x|z)] - I_q(x; z) - \beta \, KL(q(z) \,\|\, \prod_j q(z_j))
        - E_{q(z)}\Big[\sum_j \log q(z_j) - \log p(z)\Big]

    q(z) = mean of q(z | x) over the data, estimated from the minibatch; the logarithm of an
    estimate, so for beta ≠ 1 no bound on log p(x). At beta = 1 the value is the ELBO. The last term
    is Σ KL(q(z_j) ‖ p(z_j)) where the prior is independent over dimensions, which it need not be.
    (Chen, Li, Grosse & Duvenaud, 2018)

    Use:
        objective: latents that are independent of each other, at less cost to what they say than
            beta.

    Arguments:
        beta: The weight, at least 0.
        num_data: How many data there are, N, of which a batch is a part.
        estimator: "weighted", :math:`\hat q(z) = \frac{1}{Nn} \sum_i q(z | x_i)`, or "stratified",
            unbiased for q(z) over batches that are drawn without replacement, of at least two data.

    Raises:
        ValueError: if beta is negative or not finite, `num_data` is below the rows of a batch, or q
            has several latents or one that is not independent over its dimensions; see `Bound`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2), likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3)
        ... )
        >>> pv.Objective(vae, TotalCorrelation(6.0, num_data=60_000))(torch.ones(5, 3)).shape
        torch.Size([])
    """

    bound = None

    def __init__(self, beta: float, num_data: int, estimator: str = "weighted"):
        super().__init__()
        self.beta = check_within("beta", beta, 0.0)
        self.num_data = check_whole("num_data", num_data)
        if estimator not in ("weighted", "stratified"):
            raise ValueError(f"estimator: expected 'weighted' or 'stratified', got {estimator!r}")
        self.estimator = estimator

    def per_datum(self, run: Run) -> Tensor:
        if len(run.latents) != 1:
            raise ValueError(
                f"the total correlation is of one latent, got {', '.join(run.latents) or 'none'}"
            )
        n, ((name, (q, _)),) = run.shape[1], run.latents.items()
        if self.estimator == "stratified" and isinstance(n, int) and n < 2:
            raise ValueError(
                "x: the stratified estimator needs batches of at least 2 rows, got 1; take another batch_size, or "
                "estimator='weighted'"
            )
        if isinstance(n, int) and n > self.num_data:
            raise ValueError(
                f"num_data: expected the number of all data, at least the {n} rows of this batch"
            )

        each = _independent(name, q["fn"]).log_prob(q["value"].unsqueeze(1)).reshape(n, n, -1)
        log_weight = self._log_weights(each)
        log_q_z = (log_weight + each.sum(-1)).logsumexp(1)
        log_product = (log_weight.unsqueeze(-1) + each).logsumexp(1).sum(-1)
        return run.log_weight.squeeze(0) - (self.beta - 1) * (log_q_z - log_product)

    def _log_weights(self, each: Tensor) -> Tensor:
        """The logarithm of what q(z_i | x_j) counts in q(z_i), `[n, n]`."""
        n, total = each.shape[0], self.num_data
        if self.estimator == "weighted":
            return -each.new_full((n, n), 1.0).mul(n * total).log()
        others = n - 1
        row = torch.arange(n, device=each.device)
        ahead = (row - row.unsqueeze(1)) % n
        w = each.new_ones(n, n) / others
        w = torch.where(ahead == 0, 1 / total, w)
        return torch.where(ahead == 1, (total - others) / (total * others), w).log()


def gaussian_kernel(a: Tensor, b: Tensor) -> Tensor:
    r"""exp(-‖a - b‖² / 2d) for the rows of `[n, d]` and `[m, d]`, `[n, m]`.

    Example:
        >>> gaussian_kernel(torch.zeros(1, 2), torch.ones(3, 2)).shape
        torch.Size([1, 3])
    """
    return (-(a.unsqueeze(1) - b.unsqueeze(0)).square().mean(-1) / 2).exp()


class MMD(Bound):
    r"""The ELBO with its KL partly or wholly replaced by the maximum mean discrepancy of q(z) and
    p(z) (InfoVAE).

    .. math:: E_q[\log p(x|z)] - (1 - \alpha) KL(q(z|x) \,\|\, p(z)) - \lambda \,
    \mathrm{MMD}^2(q(z), p(z))

    with MMD² = E k(z, z') + E k(u, u') - 2 E k(z, u), z ~ q(z), u ~ p(z), over all pairs of the
    batch and as many draws of the prior (the diagonals included, as in the authors' code). No bound
    on log p(x). A prior without reparametrised draws gets no gradient from the MMD. (Zhao, Song &
    Ermon, 2019, whose α + λ - 1 is λ here)

    Use:
        objective: where the KL would silence the latents: only q(z) as a whole is held to the
            prior.

    Arguments:
        weight: λ, at least 0, in nats per datum.
        kernel: A function of `[n, d]` and `[m, d]` that returns `[n, m]`.
        alpha: In [0, 1], how much of the KL is left out; by default all of it.

    Raises:
        ValueError: if `weight` is negative or not finite, or `alpha` is not in [0, 1]; see `Bound`.
        TypeError: if `kernel` cannot be called.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2), likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3)
        ... )
        >>> pv.Objective(vae, MMD(100.0))(torch.ones(5, 3)).shape
        torch.Size([])
    """

    bound = None

    def __init__(
        self,
        weight: float,
        kernel: Callable[[Tensor, Tensor], Tensor] = gaussian_kernel,
        alpha: float = 1.0,
    ):
        super().__init__()
        self.weight, self.alpha = check_within("weight", weight, 0.0), check_within("alpha", alpha, 0.0, 1.0)
        if not callable(kernel):
            raise TypeError(
                f"kernel: expected a function of two tensors [n, d] and [m, d], got {kernel!r}"
            )
        self.kernel = kernel

    def per_datum(self, run: Run) -> Tensor:
        prior = run.prior_draws()
        z, u = (
            torch.cat([values[name].reshape(run.shape[1], -1) for name in run.latents], -1)
            for values in ({name: q["value"] for name, (q, _) in run.latents.items()}, prior)
        )
        k = self.kernel
        mmd = k(z, z).mean() + k(u, u).mean() - 2 * k(z, u).mean()
        kl = sum(run.kl().values()).mean(0)
        return run.log_likelihood.mean(0) - (1 - self.alpha) * kl - self.weight * mmd


def _independent(name: str, fn: Distribution) -> Distribution:
    """The distribution of each number of an event, if they are independent."""
    base = fn
    while isinstance(base, Independent):
        base = base.base_dist
    if base.event_shape:
        raise ValueError(
            f"latent {name!r}: a {family_name(fn)} is not independent over its dimensions; take per='site' where there "
            "is that option, or a family such as pv.Normal"
        )
    return base


def _kl_by_dimension(run: Run) -> dict[str, Tensor]:
    """KL(q ‖ p) of each number of each latent, `[draws, data, *event]`."""
    terms = {}
    for name, (q, p) in run.latents.items():
        each = [_independent(name, site["fn"].expand(run.shape)) for site in (q, p)]
        try:
            kl = kl_divergence(*each)
        except NotImplementedError:
            kl = each[0].log_prob(q["value"]) - each[1].log_prob(q["value"])
        event = q["fn"].event_shape
        terms[name] = kl.expand(*run.shape, *event) * (q["scale"] / run.scale)
    return terms
