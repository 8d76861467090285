"""Bounds that treat their draws in groups, or the model and the guide apart."""

import torch
from torch import Tensor

from pyro_vae.arguments import check_whole, check_within
from pyro_vae.objectives.bound import DOUBLY, REPARAMETRISED, WAKE, Bound
from pyro_vae.objectives.run import Run
from pyro_vae.objectives.weighted import WeightBound, graft, log_mean_exp


class MIWAE(WeightBound):
    r"""The mean of several importance-weighted bounds.

    .. math:: \frac{1}{m} \sum_j \log \frac{1}{k} \sum_i w_{ji}

    It lies between the ELBO and L_mk, and is a better signal for the encoder. (Rainforth et al.,
    2018)

    Use:
        objective: an importance-weighted bound where the encoder learns too slowly from large k.

    Arguments:
        num_groups: How many bounds there are, m.
        num_samples: Draws of each bound, k. There are m·k in all.
        gradient: See `Bound`.

    Raises: See `Bound`.

    Example:
        >>> pv.Objective(vae, MIWAE(4, 8))(x).shape
        torch.Size([])
    """

    def __init__(self, num_groups: int, num_samples: int, gradient: str = REPARAMETRISED):
        self.num_groups = check_whole("num_groups", num_groups)
        super().__init__(num_groups * check_whole("num_samples", num_samples), gradient)

    def value(self, log_w: Tensor) -> Tensor:
        return log_mean_exp(log_w.unflatten(-2, (self.num_groups, -1))).mean(-2)

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        a = log_w.unflatten(-2, (self.num_groups, -1)).softmax(-2).flatten(-3, -2)
        return a / self.num_groups, a.square() / self.num_groups


class PIWAE(MIWAE):
    r"""One importance-weighted bound of m·k draws for the model, m bounds of k for the guide.

    .. math:: \nabla_\theta \log \frac{1}{mk} \sum_{ji} w_{ji}, \qquad
        \nabla_\phi \frac{1}{m} \sum_j \log \frac{1}{k} \sum_i w_{ji}

    The route of a gradient decides, not the parameter. What comes through log p(x, z) at fixed z
    is of the former, and what comes through z and q is of the latter. The value is the former. It
    runs the model twice, see `WeightBound`. (Rainforth et al., 2018)

    Use:
        objective: the tight bound for the model and the better signal for the encoder at once.

    Arguments, Raises: See `MIWAE`.

    Example:
        >>> pv.Objective(vae, PIWAE(4, 8))(x).shape
        torch.Size([])
    """

    gradients = (REPARAMETRISED, DOUBLY)

    def per_datum(self, run: Run) -> Tensor:
        log_w = run.weights.log_weight.detach()
        value = log_mean_exp(log_w)
        if not torch.is_grad_enabled():
            return value

        a, b = self.weights(log_w)
        path, score = a, a
        if self.gradient == DOUBLY:
            path, score = b, torch.zeros_like(b)
        return graft(value, self.route_gradients(run, log_w.softmax(-2), path, score))


class CIWAE(WeightBound):
    r"""A convex combination of the ELBO and the importance-weighted bound.

    .. math:: \beta \frac{1}{k} \sum_i \log w_i + (1 - \beta) \log \frac{1}{k} \sum_i w_i

    (Rainforth et al., 2018)

    Use:
        objective: a tighter bound that keeps some of the ELBO.

    Arguments:
        beta: The weight of the ELBO, in [0, 1].
        num_samples, gradient: See `Bound`.

    Raises:
        ValueError: if beta is not within [0, 1]; see `Bound`.

    Example:
        >>> pv.Objective(vae, CIWAE(0.5, 8))(x).shape
        torch.Size([])
    """

    def __init__(self, beta: float, num_samples: int, gradient: str = REPARAMETRISED):
        super().__init__(num_samples, gradient)
        self.beta = check_within("beta", beta, 0.0, 1.0)

    def value(self, log_w: Tensor) -> Tensor:
        return self.beta * log_w.mean(-2) + (1 - self.beta) * log_mean_exp(log_w)

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        w = log_w.softmax(-2)
        even = self.beta / log_w.shape[-2]
        return even + (1 - self.beta) * w, even + (1 - self.beta) * w.square()


class ReweightedWakeSleep(Bound):
    r"""Reweighted wake-sleep with both updates in the wake phase. No gradient passes a draw.

    .. math:: \sum_i \bar w_i \nabla_\theta \log p(x, z_i), \qquad
        \sum_i \bar w_i \nabla_\phi \log q(z_i | x), \qquad \bar w_i = w_i / \sum_j w_j

    The guide goes down in KL(p(z|x) ‖ q(z|x)), and latents may be of any kind. The value is L_k.
    The weights are of one datum each. Those of `pyro.infer.ReweightedWakeSleep` are of the whole
    batch together. (Bornschein & Bengio, 2015)

    Use:
        objective: latents of any kind, and a q that covers the posterior rather than one mode of
            it.

    Arguments:
        num_samples: Draws per datum, k, at least 2.

    Raises:
        ValueError: if `num_samples` is 1, where all weights are equal; see `Bound`.

    Example:
        >>> discrete = pv.VAE(
        ...     prior=pv.Bernoulli(2),
        ...     likelihood=pv.Normal(3, given=2),
        ...     variational=pv.Bernoulli(2, given=3),
        ... )
        >>> pv.Objective(discrete, ReweightedWakeSleep(5))(x).shape
        torch.Size([])
    """

    gradients = (WAKE,)

    def __init__(self, num_samples: int):
        super().__init__(check_whole("num_samples", num_samples, 2), WAKE)

    def per_datum(self, run: Run) -> Tensor:
        log_w = run.weights.log_weight.detach()
        value = log_mean_exp(log_w)
        if not torch.is_grad_enabled():
            return value

        w = log_w.softmax(-2)
        return graft(value, self.route_gradients(run, w, torch.zeros_like(w), -w))
