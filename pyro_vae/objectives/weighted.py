"""Bounds on log p(x) that are functions of importance weights, and their gradients."""

import math

import torch
from torch import Tensor

from pyro_vae.arguments import check_within
from pyro_vae.objectives.bound import (
    DOUBLY,
    LANDING,
    LEAVE_ONE_OUT,
    REPARAMETRISED,
    SCORE,
    Bound,
)
from pyro_vae.objectives.kl import sum_kl
from pyro_vae.objectives.run import Run


class WeightBound(Bound):
    r"""A bound that is a function F of the log weights of k draws.

    A subclass states F and two of its derivatives. With D the gradient of log p(x, z) at fixed z,
    S that of log q(z | x) at fixed z, and P that of log w through z alone, the estimators are

    - `"reparametrised"`: :math:`\sum_i a_i (D_i + P_i - S_i)`, with
      :math:`a_i = \partial F / \partial \log w_i`;
    - `"doubly_reparametrised"`: :math:`\sum_i a_i D_i + b_i P_i`, with
      :math:`b_i = a_i - \partial a_i / \partial \log w_i`. Since E[f S] = E[f' P], it has the same
      expectation and less variance (Tucker et al., 2019). It runs the model a second time at the
      same draws, and a guide of several latents as well. So neither may be random beyond its
      latents, by dropout for example;
    - `"score"`: the first, and :math:`F \sum_i S_i` for the latents that have no reparametrised
      draws;
    - `"leave_one_out"`: the same with :math:`F - F_{-i}`, where the mean of the others stands for
      log w_i.

    Arguments, Raises: See `Bound`.

    Example:
        >>> class Best(WeightBound):
        ...     gradients = ("reparametrised",)
        ...     def value(self, log_w):
        ...         return log_w.amax(-2)
        >>> Best(10).value(torch.arange(10.0).reshape(10, 1))
        tensor([9.])
    """

    gradients: tuple[str, ...] = (REPARAMETRISED, DOUBLY, SCORE, LEAVE_ONE_OUT)

    def value(self, log_w: Tensor) -> Tensor:
        """F: `[..., k, n]` to `[..., n]`."""
        raise NotImplementedError

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        """a and b, `[k, n]` each."""
        raise NotImplementedError

    def find_log_weights(self, run: Run) -> Tensor:
        """The log weights `[k, n]` of which F is taken."""
        return run.weights.log_weight

    def per_datum(self, run: Run) -> Tensor:
        log_w = self.find_log_weights(run)
        value = self.value(log_w)
        if self.gradient == REPARAMETRISED or not torch.is_grad_enabled():
            return value
        if self.gradient in (SCORE, LEAVE_ONE_OUT):
            return graft(value, value + self._find_score_term(run, log_w, value))

        a, b = self.weights(log_w.detach())
        return graft(value, self.route_gradients(run, a, b, torch.zeros_like(b)))

    def _find_score_term(self, run: Run, log_w: Tensor, value: Tensor) -> Tensor:
        """What adds the score of the latents without reparametrised draws to the gradient."""
        signal = value
        if self.gradient == LEAVE_ONE_OUT:
            signal = value - self.value(_replace_each(log_w))
        return (signal.detach() * run.log_score).sum(0)


class EvidenceLowerBound(WeightBound):
    r"""The ELBO, with a choice of gradients.

    .. math:: \frac{1}{k} \sum_i \log w_i, \qquad w_i = p(x, z_i) / q(z_i | x), \quad z_i \sim q(z |
        x)

    `gradient="sticking_the_landing"` leaves out the score of q. Its expectation is zero. Where q is
    the posterior, the gradient of q is then zero draw by draw. It scores the draws of q once more,
    as constants. An `IAF` takes as many passes for that as there are latents. `WeightBound` says
    what the other gradients are and what they need. (Kingma & Welling, 2014; Roeder, Wu &
    Duvenaud, 2017; `"leave_one_out"`: Kool, van Hoof & Welling, 2019)

    Use:
        objective: the ELBO of several draws; with sticking the landing as q nears the posterior.

    Arguments, Raises: See `Bound`.

    Example:
        >>> elbo = EvidenceLowerBound(gradient="sticking_the_landing")
        >>> pv.Objective(vae, elbo)(x).shape
        torch.Size([])
    """

    gradients: tuple[str, ...] = (REPARAMETRISED, LANDING, SCORE, LEAVE_ONE_OUT)
    is_average = True

    def find_log_weights(self, run: Run) -> Tensor:
        return run.weights.elbo

    def value(self, log_w: Tensor) -> Tensor:
        return log_w.mean(-2)

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        a = torch.full_like(log_w, 1 / log_w.shape[-2])
        return a, a


class AnalyticKL(EvidenceLowerBound):
    r"""The ELBO with its KL in closed form, where there is one.

    .. math:: \frac{1}{k} \sum_i \log p(x | z_i) - KL(q(z|x) \,\|\, p(z))

    torch and Pyro register a closed form for many pairs of families. A latent without one counts
    with log q - log p at the draws. So does every latent of a guide that draws in another order
    than the model: a closed form would then condition on what comes later. (Kingma & Welling,
    2014)

    Use:
        objective: the ELBO with less noise, for families with a closed KL.

    Arguments, Raises: See `Bound`.

    Example:
        >>> pv.Objective(vae, AnalyticKL())(x).shape
        torch.Size([])
    """

    gradients = (REPARAMETRISED, SCORE, LEAVE_ONE_OUT)

    def find_log_weights(self, run: Run) -> Tensor:
        return run.weights.log_likelihood - sum_kl(run)


class ImportanceWeighted(WeightBound):
    r"""The importance-weighted bound, which rises to log p(x) with k.

    .. math:: L_k = \log \frac{1}{k} \sum_i w_i, \qquad w_i = p(x, z_i) / q(z_i | x),
        \quad z_i \sim q(z | x)

    The weights are of one datum each, under a subsampled plate as well. Those of Pyro's
    `RenyiELBO` carry the scale of such a plate in their exponent. `WeightBound` says what the
    gradients are. (Burda, Grosse & Salakhutdinov, 2016; Tucker, Lawson, Gu & Maddison, 2019)

    Use:
        objective: a tighter bound, and more latents in use; k = 5 to 50, doubly reparametrised.

    Arguments, Raises: See `Bound`.

    Example:
        >>> elbo = ImportanceWeighted(5, gradient="doubly_reparametrised")
        >>> pv.Objective(vae, elbo)(x).shape
        torch.Size([])
    """

    def __init__(self, num_samples: int, gradient: str = REPARAMETRISED):
        super().__init__(num_samples, gradient)

    def value(self, log_w: Tensor) -> Tensor:
        return log_mean_exp(log_w)

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        a = log_w.softmax(-2)
        return a, a.square()


class VIMCO(ImportanceWeighted):
    r"""The importance-weighted bound for discrete latents, with the other draws as a baseline.

    .. math:: \sum_i (L_k - L_{-i}) \nabla \log q(z_i | x) + \nabla L_k

    In the baseline L_{-i}, the geometric mean of the other weights stands for w_i. Latents that
    have reparametrised draws use them. It is the same as `ImportanceWeighted(num_samples,
    gradient="leave_one_out")`. (Mnih & Rezende, 2016)

    Use:
        objective: discrete latents, with several draws.

    Arguments:
        num_samples: Draws per datum, k, at least 2.

    Raises: See `Bound`.

    Example:
        >>> discrete = pv.VAE(
        ...     prior=pv.Bernoulli(2),
        ...     likelihood=pv.Normal(3, given=2),
        ...     variational=pv.Bernoulli(2, given=3),
        ... )
        >>> pv.Objective(discrete, VIMCO(5))(x).shape
        torch.Size([])
    """

    gradients = (LEAVE_ONE_OUT,)

    def __init__(self, num_samples: int):
        super().__init__(num_samples, LEAVE_ONE_OUT)


class Renyi(WeightBound):
    r"""The variational Rényi bound of order alpha.

    .. math:: \frac{1}{1 - \alpha} \log \frac{1}{k} \sum_i w_i^{1 - \alpha}

    At alpha = 0 it is the importance-weighted bound. Its limit at alpha = 1 is the ELBO. Below 0 it
    is no bound at any finite k, and `bound` is None. (Li & Turner, 2016)

    Use:
        objective: between the importance-weighted bound, alpha = 0, and the ELBO, alpha = 1.

    Arguments:
        alpha: The order, any finite number.
        num_samples, gradient: See `Bound`.

    Raises:
        ValueError: if alpha is not finite; see `Bound`.

    Example:
        >>> pv.Objective(vae, Renyi(0.5, 10))(x).shape
        torch.Size([])
    """

    def __init__(self, alpha: float, num_samples: int, gradient: str = REPARAMETRISED):
        super().__init__(num_samples, gradient)
        self.alpha = check_within("alpha", alpha)
        self.bound = "lower" if alpha >= 0 else None

    def value(self, log_w: Tensor) -> Tensor:
        order = 1 - self.alpha
        return log_mean_exp(order * log_w) / order if order else log_w.mean(-2)

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        a = ((1 - self.alpha) * log_w).softmax(-2)
        return a, self.alpha * a + (1 - self.alpha) * a.square()


def graft(value: Tensor, surrogate: Tensor) -> Tensor:
    """The value, with the gradient of the surrogate."""
    return value.detach() + (surrogate - surrogate.detach())


def _replace_each(log_w: Tensor) -> Tensor:
    """For each draw all log weights, its own replaced by the mean of the others, `[k, k, n]`."""
    k = log_w.shape[0]
    others = (log_w.sum(0) - log_w) / (k - 1)
    is_own = torch.eye(k, dtype=torch.bool, device=log_w.device).unsqueeze(-1)
    return torch.where(is_own, others.unsqueeze(0), log_w.unsqueeze(0))


def log_mean_exp(log_w: Tensor) -> Tensor:
    """The logarithm of the mean weight: `[..., k, n]` to `[..., n]`."""
    return log_w.logsumexp(-2) - math.log(log_w.shape[-2])
