"""Bounds on log p(x) that are functions of importance weights, and their gradients."""

import math

import torch
from torch import Tensor

from pyro_vae.arguments import check_whole, check_within
from pyro_vae.objectives.bound import (
    DOUBLY,
    LANDING,
    LEAVE_ONE_OUT,
    REPARAMETRISED,
    SCORE,
    WAKE,
    Bound,
    Run,
)


class WeightBound(Bound):
    r"""A bound that is a function F of the log weights of k draws; a subclass states F and two of
    its derivatives.

    With D the gradient of log p(x, z) at fixed z, S that of log q(z | x) at fixed z, and P that of
    log w through z alone, the estimators are

    - `"reparametrised"`: :math:`\sum_i a_i (D_i + P_i - S_i)`, with :math:`a_i = \partial F /
      \partial \log w_i`;
    - `"doubly_reparametrised"`: :math:`\sum_i a_i D_i + b_i P_i`, with :math:`b_i = a_i - \partial
      a_i / \partial \log w_i`, for E[f S] = E[f' P]: the same expectation, less variance (Tucker et
      al., 2019). It runs the model, and a guide of several latents, a second time at the same
      draws, so that neither may be random beyond its latents, by dropout say;
    - `"score"`: the first, and :math:`F \sum_i S_i` for the latents that have no reparametrised
      draws;
    - `"leave_one_out"`: the same with :math:`F - F_{-i}`, in which the mean of the others stands
      for log w_i.

    Arguments, Raises: See `Bound`.

    Example:
        >>> class Best(WeightBound):
        ...     gradients = ("reparametrised",)
        ...     def value(self, log_w):
        ...         return log_w.amax(-2)
        >>> Best(10).value(torch.arange(10.0).reshape(10, 1))
        tensor([9.])
    """

    gradients = (REPARAMETRISED, DOUBLY, SCORE, LEAVE_ONE_OUT)

    def value(self, log_w: Tensor) -> Tensor:
        """F: `[..., k, n]` to `[..., n]`."""
        raise NotImplementedError

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        """a and b, `[k, n]` each."""
        raise NotImplementedError

    def integrand(self, run: Run) -> Tensor:
        return run.log_weight

    def per_datum(self, run: Run) -> Tensor:
        log_w = self.integrand(run)
        value = self.value(log_w)
        if self.gradient == REPARAMETRISED or not torch.is_grad_enabled():
            return value
        if self.gradient in (SCORE, LEAVE_ONE_OUT):
            signal = value if self.gradient == SCORE else value - self.value(_one_replaced(log_w))
            return _graft(value, value + (signal.detach() * run.log_score).sum(0))
        a, b = self.weights(log_w.detach())
        return _graft(value, self.routes(run, a, b, torch.zeros_like(b)))


class EvidenceLowerBound(WeightBound):
    r"""The ELBO, with a choice of gradients.

    .. math:: \frac{1}{k} \sum_i \log w_i, \qquad w_i = p(x, z_i) / q(z_i | x), \quad z_i \sim q(z |
    x)

    `gradient="sticking_the_landing"` leaves out the score of q, whose expectation is zero: with the
    posterior as q the gradient of q is then zero, draw by draw. It scores the draws of q once more,
    as constants, for which an `IAF` takes as many passes as there are latents. See `WeightBound`
    for the others and what they need. (Kingma & Welling, 2014; Roeder, Wu & Duvenaud, 2017;
    `"leave_one_out"`: Kool, van Hoof & Welling, 2019)

    Use:
        objective: the ELBO of several draws; with sticking the landing as q nears the posterior.

    Arguments, Raises: See `Bound`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2), likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3)
        ... )
        >>> pv.Objective(vae, EvidenceLowerBound(gradient="sticking_the_landing"))(torch.ones(5, 3)).shape
        torch.Size([])
    """

    gradients = (REPARAMETRISED, LANDING, SCORE, LEAVE_ONE_OUT)

    def value(self, log_w: Tensor) -> Tensor:
        return log_w.mean(-2)

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        a = torch.full_like(log_w, 1 / log_w.shape[-2])
        return a, a


class AnalyticKL(EvidenceLowerBound):
    r"""The ELBO with its KL in closed form, wherever torch or Pyro registers one for the two
    families.

    .. math:: \frac{1}{k} \sum_i \log p(x | z_i) - KL(q(z|x) \,\|\, p(z))

    A latent without closed form, and every latent of a guide that draws in another order than the
    model, where a closed form would condition on what comes later, counts with log q - log p at the
    draws. (Kingma & Welling, 2014)

    Use:
        objective: the ELBO with less noise, for families with a closed KL.

    Arguments, Raises: See `Bound`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2), likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3)
        ... )
        >>> pv.Objective(vae, AnalyticKL())(torch.ones(5, 3)).shape
        torch.Size([])
    """

    gradients = (REPARAMETRISED, SCORE, LEAVE_ONE_OUT)

    def integrand(self, run: Run) -> Tensor:
        return run.log_likelihood - sum(run.kl().values())


class ImportanceWeighted(WeightBound):
    r"""The importance-weighted bound, which rises to log p(x) with k.

    .. math:: L_k = \log \frac{1}{k} \sum_i w_i, \qquad w_i = p(x, z_i) / q(z_i | x), \quad z_i \sim
    q(z | x)

    The weights are of one datum each, under a subsampled plate as well, where those of Pyro's
    `RenyiELBO` carry its scale in their exponent. See `WeightBound` for the gradients. (Burda,
    Grosse & Salakhutdinov, 2016; Tucker, Lawson, Gu & Maddison, 2019)

    Use:
        objective: a tighter bound, and more latents in use; k = 5 to 50, doubly reparametrised.

    Arguments, Raises: See `Bound`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2), likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3)
        ... )
        >>> pv.Objective(vae, ImportanceWeighted(5, gradient="doubly_reparametrised"))(torch.ones(5, 3)).shape
        torch.Size([])
    """

    def __init__(self, num_samples: int, gradient: str = REPARAMETRISED):
        super().__init__(num_samples, gradient)

    def value(self, log_w: Tensor) -> Tensor:
        return _log_mean_exp(log_w)

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        a = log_w.softmax(-2)
        return a, a.square()


class VIMCO(ImportanceWeighted):
    r"""The importance-weighted bound for discrete latents: each draw's score, with the others as
    its baseline.

    .. math:: \sum_i (L_k - L_{-i}) \nabla \log q(z_i | x) + \nabla L_k

    In the baseline the geometric mean of the other weights stands for w_i. Latents that have
    reparametrised draws use them. It is `ImportanceWeighted(num_samples,
    gradient="leave_one_out")`. (Mnih & Rezende, 2016)

    Use:
        objective: discrete latents, with several draws.

    Arguments:
        num_samples: Draws per datum, k, at least 2.

    Raises: See `Bound`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.Bernoulli(2), likelihood=pv.Normal(3, given=2), variational=pv.Bernoulli(2, given=3)
        ... )
        >>> pv.Objective(vae, VIMCO(5))(torch.ones(5, 3)).shape
        torch.Size([])
    """

    gradients = (LEAVE_ONE_OUT,)

    def __init__(self, num_samples: int):
        super().__init__(num_samples, LEAVE_ONE_OUT)


class Renyi(WeightBound):
    r"""The variational Rényi bound of order alpha.

    .. math:: \frac{1}{1 - \alpha} \log \frac{1}{k} \sum_i w_i^{1 - \alpha}

    alpha = 0 is the importance-weighted bound, alpha = 1 the ELBO, its limit. Below 0 it is no bound at any finite k
    (`bound` is None then). (Li & Turner, 2016)

    Use:
        objective: between the importance-weighted bound, alpha = 0, and the ELBO, alpha = 1.

    Arguments:
        alpha: The order, any finite number.
        num_samples, gradient: See `Bound`.

    Raises:
        ValueError: if alpha is not finite; see `Bound`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2), likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3)
        ... )
        >>> pv.Objective(vae, Renyi(0.5, 10))(torch.ones(5, 3)).shape
        torch.Size([])
    """

    def __init__(self, alpha: float, num_samples: int, gradient: str = REPARAMETRISED):
        super().__init__(num_samples, gradient)
        self.alpha = check_within("alpha", alpha)
        self.bound = "lower" if alpha >= 0 else None

    def value(self, log_w: Tensor) -> Tensor:
        order = 1 - self.alpha
        return _log_mean_exp(order * log_w) / order if order else log_w.mean(-2)

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        a = ((1 - self.alpha) * log_w).softmax(-2)
        return a, self.alpha * a + (1 - self.alpha) * a.square()


class MIWAE(WeightBound):
    r"""The mean of several importance-weighted bounds: between the ELBO and L_mk, a better signal
    for the encoder.

    .. math:: \frac{1}{m} \sum_j \log \frac{1}{k} \sum_i w_{ji}

    (Rainforth et al., 2018)

    Use:
        objective: an importance-weighted bound where the encoder learns too slowly from large k.

    Arguments:
        num_groups: How many bounds, m.
        num_samples: Draws of each, k; m·k in all.
        gradient: See `Bound`.

    Raises: See `Bound`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2), likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3)
        ... )
        >>> pv.Objective(vae, MIWAE(4, 8))(torch.ones(5, 3)).shape
        torch.Size([])
    """

    def __init__(self, num_groups: int, num_samples: int, gradient: str = REPARAMETRISED):
        self.num_groups = check_whole("num_groups", num_groups)
        super().__init__(num_groups * check_whole("num_samples", num_samples), gradient)

    def value(self, log_w: Tensor) -> Tensor:
        return _log_mean_exp(log_w.unflatten(-2, (self.num_groups, -1))).mean(-2)

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        a = log_w.unflatten(-2, (self.num_groups, -1)).softmax(-2).flatten(-3, -2)
        return a / self.num_groups, a.square() / self.num_groups


class PIWAE(MIWAE):
    r"""The importance-weighted bound of all m·k draws for the model, the mean of m bounds of k for
    the guide.

    .. math:: \nabla_\theta \log \frac{1}{mk} \sum_{ji} w_{ji}, \qquad
        \nabla_\phi \frac{1}{m} \sum_j \log \frac{1}{k} \sum_i w_{ji}

    What goes to which is told by the route, not by the parameter: through log p(x, z) at fixed z,
    or through z and q. The value is the former. It runs the model twice, see `WeightBound`.
    (Rainforth et al., 2018)

    Use:
        objective: the tight bound for the model and the better signal for the encoder at once.

    Arguments, Raises: See `MIWAE`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2), likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3)
        ... )
        >>> pv.Objective(vae, PIWAE(4, 8))(torch.ones(5, 3)).shape
        torch.Size([])
    """

    gradients = (REPARAMETRISED, DOUBLY)

    def per_datum(self, run: Run) -> Tensor:
        log_w = run.log_weight.detach()
        value = _log_mean_exp(log_w)
        if not torch.is_grad_enabled():
            return value
        a, b = self.weights(log_w)
        guide = (a, a) if self.gradient == REPARAMETRISED else (b, torch.zeros_like(b))
        return _graft(value, self.routes(run, log_w.softmax(-2), *guide))


class CIWAE(WeightBound):
    r"""A convex combination of the ELBO and the importance-weighted bound.

    .. math:: \beta \frac{1}{k} \sum_i \log w_i + (1 - \beta) \log \frac{1}{k} \sum_i w_i

    (Rainforth et al., 2018)

    Use:
        objective: a tighter bound, of which the ELBO keeps some.

    Arguments:
        beta: The weight of the ELBO, in [0, 1].
        num_samples, gradient: See `Bound`.

    Raises:
        ValueError: if beta is not within [0, 1]; see `Bound`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2), likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3)
        ... )
        >>> pv.Objective(vae, CIWAE(0.5, 8))(torch.ones(5, 3)).shape
        torch.Size([])
    """

    def __init__(self, beta: float, num_samples: int, gradient: str = REPARAMETRISED):
        super().__init__(num_samples, gradient)
        self.beta = check_within("beta", beta, 0.0, 1.0)

    def value(self, log_w: Tensor) -> Tensor:
        return self.beta * log_w.mean(-2) + (1 - self.beta) * _log_mean_exp(log_w)

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        w, even = log_w.softmax(-2), self.beta / log_w.shape[-2]
        return even + (1 - self.beta) * w, even + (1 - self.beta) * w.square()


class ReweightedWakeSleep(Bound):
    r"""Reweighted wake-sleep, both updates in the wake phase: no gradient passes through a draw.

    .. math:: \sum_i \bar w_i \nabla_\theta \log p(x, z_i), \qquad \sum_i \bar w_i \nabla_\phi \log
    q(z_i | x),
        \qquad \bar w_i = w_i / \sum_j w_j

    The guide falls in KL(p(z|x) ‖ q(z|x)), so latents may be of any kind; the value is L_k. Its
    weights are of one datum each; those of `pyro.infer.ReweightedWakeSleep` are of the whole batch
    together. (Bornschein & Bengio, 2015)

    Use:
        objective: latents of any kind, and a q that covers the posterior rather than one mode of
            it.

    Arguments:
        num_samples: Draws per datum, k, at least 2.

    Raises:
        ValueError: if `num_samples` is 1, at which all weights are equal; see `Bound`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.Bernoulli(2), likelihood=pv.Normal(3, given=2), variational=pv.Bernoulli(2, given=3)
        ... )
        >>> pv.Objective(vae, ReweightedWakeSleep(5))(torch.ones(5, 3)).shape
        torch.Size([])
    """

    gradients = (WAKE,)

    def __init__(self, num_samples: int):
        super().__init__(check_whole("num_samples", num_samples, 2), WAKE)

    def per_datum(self, run: Run) -> Tensor:
        log_w = run.log_weight.detach()
        value = _log_mean_exp(log_w)
        if not torch.is_grad_enabled():
            return value
        w = log_w.softmax(-2)
        return _graft(value, self.routes(run, w, torch.zeros_like(w), -w))


def _graft(value: Tensor, surrogate: Tensor) -> Tensor:
    """The value, with the gradient of the surrogate."""
    return value.detach() + (surrogate - surrogate.detach())


def _one_replaced(log_w: Tensor) -> Tensor:
    """`[k, k, n]`: for each draw, all log weights with its own replaced by the mean of the others'."""
    k = log_w.shape[0]
    others = (log_w.sum(0) - log_w) / (k - 1)
    own = torch.eye(k, dtype=torch.bool, device=log_w.device).unsqueeze(-1)
    return torch.where(own, others.unsqueeze(0), log_w.unsqueeze(0))


def _log_mean_exp(log_w: Tensor) -> Tensor:
    return log_w.logsumexp(-2) - math.log(log_w.shape[-2])
