"""Bounds on log p(x), their gradients, and objectives that shape the KL term; each a Pyro `ELBO` that takes any pair.

Stock `SVI(model, guide, optim, loss=...)` and `Objective(pair, elbo)` take them alike. Importance weights are of one
datum each; the scale of what the model observes, N/B of a subsampled plate for one, multiplies a datum's bound and
never enters its weights. A latent that is scaled beyond that (`KLWeight`) is tempered within them.
"""

import math
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import torch
from pyro import infer, poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from pyro_vae.traces import latents, log_prob, refusals, samples, trace

REPARAMETRISED, DOUBLY = "reparametrised", "doubly_reparametrised"
LANDING = "sticking_the_landing"
SCORE, LEAVE_ONE_OUT, WAKE = "score", "leave_one_out", "wake"


class Run:
    """Draws of q(z | x) with the traces of guide and model at them, for a bound to do its arithmetic on.

    Attributes:
        guide, model: The sample sites by name.
        shape: (draws, data), of every term below.
        scale: What multiplies a datum's bound, that of the model's first observed site.

    Raises:
        ValueError: if the pair has no bound per datum, or observes nothing.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2), likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3)
        ... )
        >>> run = Run(vae.model, vae.guide, (torch.ones(5, 3),), {}, 4)
        >>> run.log_weight.shape
        torch.Size([4, 5])
    """

    def __init__(self, model, guide, args: tuple, kwargs: dict, draws: int, values: dict[str, Tensor] | None = None):
        self._call = partial(model, **kwargs), partial(guide, **kwargs), args
        self._plate = draws if draws > 1 else None
        guide_trace = trace(self._call[1], args, draws=self._plate, latents=values)
        self._drawn = {
            name: site["value"]
            for name, site in guide_trace.nodes.items()
            if site["type"] == "sample" and not site["is_observed"]
        }
        self.traces = trace(self._call[0], args, draws=self._plate, latents=self._drawn), guide_trace
        self.model, self.guide = map(samples, self.traces)

        problems = refusals(*(SimpleNamespace(nodes=nodes) for nodes in (self.model, self.guide)))
        if problems:
            raise ValueError("this pair has no bound per datum: " + "; ".join(problems))
        observed = [site for site in self.model.values() if site["is_observed"]]
        if not observed:
            raise ValueError("model: it observes nothing, so there is no log p(x); pass obs=x to the site of the data")
        frame = next(frame for frame in observed[0]["cond_indep_stack"] if frame.name == "data")
        self.shape, self.scale, self.device = (draws, frame.size), observed[0]["scale"], observed[0]["value"].device

    def _total(self, sites: dict[str, dict], *, scaled: bool = True) -> Tensor:
        total = torch.zeros(self.shape, device=self.device)
        for name, site in sites.items():
            total = total + self.per_datum(name, log_prob(site), site["scale"] if scaled else self.scale)
        return total

    def per_datum(self, name: str, value: Tensor, scale) -> Tensor:
        """A value of one site for each draw and datum, its scale relative to what is observed."""
        try:
            return (value * (scale / self.scale)).expand(self.shape)
        except RuntimeError:
            raise ValueError(
                f"site {name!r} has log-probabilities of shape {tuple(value.shape)}, expected {tuple(self.shape)}, one "
                "per draw and datum: declare the other dimensions as the event's with .to_event(...)"
            ) from None

    @property
    def log_likelihood(self) -> Tensor:
        return self._total({name: site for name, site in self.model.items() if site["is_observed"]})

    @property
    def log_joint(self) -> Tensor:
        return self._total(self.model)

    @property
    def log_variational(self) -> Tensor:
        return self._total(self.guide)

    @property
    def log_weight(self) -> Tensor:
        return self.log_joint - self.log_variational

    @property
    def latents(self) -> dict[str, tuple[dict, dict]]:
        """The sites of q and p, by name, of what the guide draws."""
        return {name: (q, self.model[name]) for name, q in self.guide.items() if not q["is_observed"]}

    @property
    def without_path(self) -> dict[str, dict]:
        """The guide's sites that have no reparametrised draws."""
        return {name: q for name, (q, _) in self.latents.items() if not q["fn"].has_rsample}

    @property
    def log_score(self) -> Tensor:
        """log q of the sites without reparametrised draws, whose gradient is the score."""
        return self._total(self.without_path, scaled=False)

    @property
    def tempered(self) -> bool:
        """Whether some term of the weights has a scale of its own."""
        ratios = [site["scale"] / self.scale for site in [*self.model.values(), *self.guide.values()]]
        return any(isinstance(r, Tensor) or (isinstance(r, float) and r != 1) for r in ratios)

    def kl(self) -> dict[str, Tensor]:
        """KL(q ‖ p) of each latent, `[draws, data]`: in closed form where there is one, else log q - log p."""
        ordered = [name for name in self.model if name in self.latents] == list(self.latents)
        terms = {}
        for name, (q, p) in self.latents.items():
            try:
                if not ordered:
                    raise NotImplementedError
                # not every closed form broadcasts, and replayed sites are not expanded to their plates
                exact = _closed_kl(*(site["fn"].expand(self.shape) for site in (q, p)))
                exact = scale_and_mask(exact, mask=q["mask"])
                terms[name] = self.per_datum(name, exact, q["scale"])
            except NotImplementedError:
                terms[name] = self._total({name: q}) - self._total({name: p})
        return terms

    def detached(self) -> "Run":
        """The same draws as constants: guide and model once more, with gradients of their densities alone."""
        model, guide, args = self._call
        return Run(model, guide, args, {}, self.shape[0], {name: z.detach() for name, z in self._drawn.items()})

    def prior_draws(self) -> dict[str, Tensor]:
        """Draws of p(z), of the shape of those of q."""
        model, _, args = self._call
        plates = {name: value for name, value in self._drawn.items() if name not in self.guide}
        drawn = latents(trace(poutine.uncondition(model), args, draws=self._plate, latents=plates))
        return {name: drawn[name] for name in self.latents}


class Bound(infer.ELBO):
    """What every objective here shares; one of your own states `per_datum` and says what it bounds.

    Arguments:
        num_samples: Draws of q(z | x) per datum, k, taken together under a plate at dimension -2.
        gradient: One of `gradients`.

    Attributes:
        bound: "lower", if minus the loss bounds log p(x), summed over data, from below in expectation; else None.
        gradients: The gradient estimators that it admits.

    Raises:
        ValueError: if `num_samples` is below 1, `gradient` is none of `gradients`, or, when run, the pair has sites
            outside the plate "data", latents that only one side has, or discrete ones without a gradient for them.
        TypeError: if `num_samples` is no whole number.

    Example:
        >>> class Reconstruction(Bound):
        ...     bound = None
        ...     def per_datum(self, run):
        ...         return run.log_likelihood.mean(0)
        >>> Reconstruction(3)
        Reconstruction(num_samples=3, gradient='reparametrised')
    """

    bound: str | None = "lower"
    gradients: tuple[str, ...] = (REPARAMETRISED,)

    def __init__(self, num_samples: int = 1, gradient: str = REPARAMETRISED):
        super().__init__(num_particles=_whole("num_samples", num_samples), vectorize_particles=True)

        if gradient not in self.gradients:
            raise ValueError(
                f"gradient: {type(self).__name__} admits {', '.join(map(repr, self.gradients))}, got {gradient!r}"
            )
        if gradient == LEAVE_ONE_OUT and num_samples < 2:
            raise ValueError(f"num_samples: leaving one draw out takes at least 2, got {num_samples}")
        self.gradient = gradient

    def per_datum(self, run: Run) -> Tensor:
        """The estimate for each datum, `[n]`, in nats, up is good; its gradient is the estimator's."""
        raise NotImplementedError

    def differentiable_loss(self, model, guide, *args, **kwargs) -> Tensor:
        """Minus the scaled sum over data, in nats, a scalar."""
        run = Run(model, guide, args, kwargs, self.num_particles)
        if self.gradient in (REPARAMETRISED, DOUBLY, LANDING):
            for name, q in run.without_path.items():
                advice = [f"gradient={g!r}" for g in self.gradients if g in (SCORE, LEAVE_ONE_OUT)]
                raise ValueError(
                    f"latent {name!r} ({_family(q['fn'])}) has no reparametrised draws, which gradient="
                    f"{self.gradient!r} needs; take {' or '.join([*advice, 'pv.VIMCO(num_samples)'])}"
                )
        if self.gradient in (DOUBLY, WAKE) and run.tempered:
            raise ValueError(
                f"gradient: {self.gradient!r} is wrong where a KL weight tempers the importance weights; take another "
                "gradient, or pv.EvidenceLowerBound() or pv.AnalyticKL() under the KL weight"
            )
        return -(self.per_datum(run) * run.scale).sum()

    def loss(self, model, guide, *args, **kwargs) -> float:
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model, guide, *args, **kwargs) -> float:
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        return loss.item()

    def _get_trace(self, model, guide, args, kwargs) -> tuple[Trace, Trace]:
        return Run(model, guide, args, kwargs, 1).traces

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_samples={self.num_particles}, gradient={self.gradient!r})"


class WeightBound(Bound):
    r"""A bound that is a function F of the log weights of k draws; a subclass states F and two of its derivatives.

    With D the gradient of log p(x, z) at fixed z, S that of log q(z | x) at fixed z, and P that of log w through z
    alone, the estimators are

    - `"reparametrised"`: :math:`\sum_i a_i (D_i + P_i - S_i)`, with :math:`a_i = \partial F / \partial \log w_i`;
    - `"doubly_reparametrised"`: :math:`\sum_i a_i D_i + b_i P_i`, with :math:`b_i = a_i - \partial a_i / \partial
      \log w_i`, for E[f S] = E[f' P]: the same expectation, less variance (Tucker et al., 2019). It runs guide and
      model a second time at the same draws, so neither may be random beyond its latents, by dropout say;
    - `"score"`: the first, and :math:`F \sum_i S_i` for the latents that have no reparametrised draws;
    - `"leave_one_out"`: the same with :math:`F - F_{-i}`, in which the mean of the others stands for log w_i.

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
        return _graft(value, _routes(run, a, b, torch.zeros_like(b)))


class EvidenceLowerBound(WeightBound):
    r"""The ELBO, with a choice of gradients.

    .. math:: \frac{1}{k} \sum_i \log w_i, \qquad w_i = p(x, z_i) / q(z_i | x), \quad z_i \sim q(z | x)

    `gradient="sticking_the_landing"` leaves out the score of q, whose expectation is zero: with the posterior as q
    the gradient of q is then zero, draw by draw. See `WeightBound` for the others and what they need.
    (Kingma & Welling, 2014; Roeder, Wu & Duvenaud, 2017; `"leave_one_out"`: Kool, van Hoof & Welling, 2019)

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
    r"""The ELBO with its KL in closed form, wherever torch or Pyro registers one for the two families.

    .. math:: \frac{1}{k} \sum_i \log p(x | z_i) - KL(q(z|x) \,\|\, p(z))

    A latent without closed form, and every latent of a guide that draws in another order than the model, where a
    closed form would condition on what comes later, counts with log q - log p at the draws. (Kingma & Welling, 2014)

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

    .. math:: L_k = \log \frac{1}{k} \sum_i w_i, \qquad w_i = p(x, z_i) / q(z_i | x), \quad z_i \sim q(z | x)

    The weights are of one datum each, under a subsampled plate as well, where those of Pyro's `RenyiELBO` carry its
    scale in their exponent. See `WeightBound` for the gradients. (Burda, Grosse & Salakhutdinov, 2016; Tucker,
    Lawson, Gu & Maddison, 2019)

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
    r"""The importance-weighted bound for discrete latents: each draw's score, with the others as its baseline.

    .. math:: \sum_i (L_k - L_{-i}) \nabla \log q(z_i | x) + \nabla L_k

    In the baseline the geometric mean of the other weights stands for w_i. Latents that have reparametrised draws
    use them. It is `ImportanceWeighted(num_samples, gradient="leave_one_out")`. (Mnih & Rezende, 2016)

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
        self.alpha = _within("alpha", alpha)
        self.bound = "lower" if alpha >= 0 else None

    def value(self, log_w: Tensor) -> Tensor:
        order = 1 - self.alpha
        return _log_mean_exp(order * log_w) / order if order else log_w.mean(-2)

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        a = ((1 - self.alpha) * log_w).softmax(-2)
        return a, self.alpha * a + (1 - self.alpha) * a.square()


class MIWAE(WeightBound):
    r"""The mean of several importance-weighted bounds: between the ELBO and L_mk, a better signal for the encoder.

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
        self.num_groups = _whole("num_groups", num_groups)
        super().__init__(num_groups * _whole("num_samples", num_samples), gradient)

    def value(self, log_w: Tensor) -> Tensor:
        return _log_mean_exp(log_w.unflatten(-2, (self.num_groups, -1))).mean(-2)

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        a = log_w.unflatten(-2, (self.num_groups, -1)).softmax(-2).flatten(-3, -2)
        return a / self.num_groups, a.square() / self.num_groups


class PIWAE(MIWAE):
    r"""The importance-weighted bound of all m·k draws for the model, the mean of m bounds of k for the guide.

    .. math:: \nabla_\theta \log \frac{1}{mk} \sum_{ji} w_{ji}, \qquad
        \nabla_\phi \frac{1}{m} \sum_j \log \frac{1}{k} \sum_i w_{ji}

    What goes to which is told by the route, not by the parameter: through log p(x, z) at fixed z, or through z and q.
    The value is the former. It runs guide and model twice, see `WeightBound`. (Rainforth et al., 2018)

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
        return _graft(value, _routes(run, log_w.softmax(-2), *guide))


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
        self.beta = _within("beta", beta, 0.0, 1.0)

    def value(self, log_w: Tensor) -> Tensor:
        return self.beta * log_w.mean(-2) + (1 - self.beta) * _log_mean_exp(log_w)

    def weights(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        w, even = log_w.softmax(-2), self.beta / log_w.shape[-2]
        return even + (1 - self.beta) * w, even + (1 - self.beta) * w.square()


class ReweightedWakeSleep(Bound):
    r"""Reweighted wake-sleep, both updates in the wake phase: no gradient passes through a draw.

    .. math:: \sum_i \bar w_i \nabla_\theta \log p(x, z_i), \qquad \sum_i \bar w_i \nabla_\phi \log q(z_i | x),
        \qquad \bar w_i = w_i / \sum_j w_j

    The guide falls in KL(p(z|x) ‖ q(z|x)), so latents may be of any kind; the value is L_k. Its weights are of one
    datum each; those of `pyro.infer.ReweightedWakeSleep` are of the whole batch together. (Bornschein & Bengio, 2015)

    Use:
        objective: latents of any kind, and a q that covers the posterior rather than one mode of it.

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
        super().__init__(_whole("num_samples", num_samples, 2), WAKE)

    def per_datum(self, run: Run) -> Tensor:
        log_w = run.log_weight.detach()
        value = _log_mean_exp(log_w)
        if not torch.is_grad_enabled():
            return value
        w = log_w.softmax(-2)
        return _graft(value, _routes(run, w, torch.zeros_like(w), -w))


class FreeBits(Bound):
    r"""The ELBO in which a KL term costs nothing less than so many nats, so that latents stay in use.

    .. math:: E_q[\log p(x|z)] - \sum_j \max(\lambda, \overline{KL}_j)

    KL_j is the mean over the batch, of one number of z or of one latent. No larger than the ELBO, so still a lower
    bound, a loose one. KLs are in closed form where there is one. (Kingma et al., 2016)

    Use:
        objective: against unused latents, without a schedule.

    Arguments:
        nats: λ, what each term may use for free.
        per: "dimension", each number of z, for which q and p must both be independent over them, or "site", each
            latent as a whole.
        num_samples: See `Bound`.

    Raises:
        ValueError: if `nats` is negative or not finite, or a latent is not independent over its dimensions; see
            `Bound`.

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
        self.nats = _within("nats", nats, 0.0)
        if per not in ("dimension", "site"):
            raise ValueError(f"per: expected 'dimension' or 'site', got {per!r}")
        self.per = per

    def per_datum(self, run: Run) -> Tensor:
        kl = run.kl() if self.per == "site" else _kl_by_dimension(run)
        means = (term.reshape(*run.shape, -1).mean((0, 1)) for term in kl.values())
        return run.log_likelihood.mean(0) - sum(mean.clamp(min=self.nats).sum() for mean in means)


class Capacity(Bound, nn.Module):
    r"""The KL held at a capacity, which usually rises in training, so that latents come into use one by one.

    .. math:: E_q[\log p(x|z)] - \gamma \, |\overline{KL}(q(z|x) \,\|\, p(z)) - C|

    The KL is the mean over the batch, in closed form where there is one; elsewhere its absolute distance is biased by
    the noise of the draws. No bound on log p(x). (Burgess et al., 2018)

    Use:
        objective: latents that come into use one by one, at a KL that is chosen.

    Arguments:
        gamma: The weight, at least 0.
        capacity: C in nats, or a function of the number of training steps done so far, `linear(10_000, to=25.0)`.
        num_samples: See `Bound`.

    Attributes:
        steps, nats: Buffers: training steps done, and C at the last of them, which is all that a compiled graph reads.
            An eager call in training mode, with gradients, begins by advancing them; who runs a compiled one calls
            `advance()` before it.

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

    def __init__(self, gamma: float, capacity: float | Callable[[int], float], num_samples: int = 1):
        nn.Module.__init__(self)
        super().__init__(num_samples)

        self.gamma = _within("gamma", gamma, 0.0)
        self.capacity = capacity if callable(capacity) else lambda step: capacity
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("nats", torch.tensor(_within("capacity", self.capacity(0), 0.0)))

    def per_datum(self, run: Run) -> Tensor:
        if self.training and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self.advance()
        distance = (sum(run.kl().values()).mean() - self.nats).abs()
        return run.log_likelihood.mean(0) - self.gamma * distance

    def advance(self) -> None:
        """Set the capacity of the next training step, and count it; not between a loss and its gradients."""
        self.nats.fill_(_within("capacity", self.capacity(int(self.steps)), 0.0))
        self.steps += 1


class TotalCorrelation(Bound):
    r"""The ELBO with a weight on the total correlation of q(z), for latents that are independent of each other.

    .. math:: E_q[\log p(x|z)] - I_q(x; z) - \beta \, KL(q(z) \,\|\, \prod_j q(z_j)) - \sum_j KL(q(z_j) \,\|\, p(z_j))

    q(z) = mean of q(z | x) over the data, estimated from the minibatch; the logarithm of an estimate, so for beta ≠ 1
    no bound on log p(x). At beta = 1 the value is the ELBO. The prior enters as log p(z), and
    need not be independent over dimensions. (Chen, Li, Grosse & Duvenaud, 2018)

    Use:
        objective: latents that are independent of each other, at less cost to what they say than beta.

    Arguments:
        beta: The weight, at least 0.
        num_data: How many data there are, N, of which a batch is a part.
        estimator: "weighted", :math:`\hat q(z) = \frac{1}{Nn} \sum_i q(z | x_i)`, or "stratified", unbiased for q(z)
            over batches that are drawn without replacement, of at least two data.

    Raises:
        ValueError: if beta is negative or not finite, `num_data` is below the rows of a batch, or q has several
            latents or one that is not independent over its dimensions; see `Bound`.

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
        self.beta = _within("beta", beta, 0.0)
        self.num_data = _whole("num_data", num_data)
        if estimator not in ("weighted", "stratified"):
            raise ValueError(f"estimator: expected 'weighted' or 'stratified', got {estimator!r}")
        self.estimator = estimator

    def per_datum(self, run: Run) -> Tensor:
        if len(run.latents) != 1:
            raise ValueError(f"the total correlation is of one latent, got {', '.join(run.latents) or 'none'}")
        n, ((name, (q, _)),) = run.shape[1], run.latents.items()
        if self.estimator == "stratified" and isinstance(n, int) and n < 2:
            raise ValueError(
                "x: the stratified estimator needs batches of at least 2 rows, got 1; take another batch_size, or "
                "estimator='weighted'"
            )
        if isinstance(n, int) and n > self.num_data:
            raise ValueError(f"num_data: expected the number of all data, at least the {n} rows of this batch")

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
    r"""The ELBO with its KL partly or wholly replaced by the maximum mean discrepancy of q(z) and p(z) (InfoVAE).

    .. math:: E_q[\log p(x|z)] - (1 - \alpha) KL(q(z|x) \,\|\, p(z)) - \lambda \, \mathrm{MMD}^2(q(z), p(z))

    with MMD² = E k(z, z') + E k(u, u') - 2 E k(z, u), z ~ q(z), u ~ p(z), over all pairs of the batch and as many
    draws of the prior (the diagonals included, as in the authors' code). No bound on log p(x). A prior without
    reparametrised draws gets no gradient from the MMD. (Zhao, Song & Ermon, 2019, whose α + λ - 1 is λ here)

    Use:
        objective: where the KL would silence the latents: only q(z) as a whole is held to the prior.

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

    def __init__(self, weight: float, kernel: Callable[[Tensor, Tensor], Tensor] = gaussian_kernel, alpha: float = 1.0):
        super().__init__()
        self.weight, self.alpha = _within("weight", weight, 0.0), _within("alpha", alpha, 0.0, 1.0)
        if not callable(kernel):
            raise TypeError(f"kernel: expected a function of two tensors [n, d] and [m, d], got {kernel!r}")
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


def cyclical(steps: int, cycles: int = 4, rise: float = 0.5, to: float = 1.0) -> Callable[[int], float]:
    """A schedule for `KLWeight`: several times from 0, linearly, to its last value, where it rests.

    Each cycle rises for its first part and stays for what is left; after all steps it stays. (Fu et al., 2019)

    Arguments:
        steps: Training steps of all cycles together.
        cycles: How many.
        rise: The part of a cycle, in (0, 1], that is the rise.
        to: The last value.

    Raises:
        ValueError: if there are fewer steps than cycles, or `rise` is not in (0, 1].

    Example:
        >>> schedule = cyclical(8, cycles=2)
        >>> [schedule(step) for step in range(9)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    """
    if not 1 <= _whole("cycles", cycles) <= _whole("steps", steps):
        raise ValueError(f"steps: expected at least as many as cycles={cycles}, got {steps}")
    if not 0 < rise <= 1:
        raise ValueError(f"rise: expected a part of a cycle, in (0, 1], got {rise}")
    return lambda step: to if step >= steps else to * min(1.0, (step * cycles / steps) % 1.0 / rise)


def _routes(run: Run, model: Tensor, path: Tensor, score: Tensor) -> Tensor:
    """A number per datum with the gradient Σ model·D + path·P - score·S, see `WeightBound`."""
    again = run.detached()
    total = path * (run.log_joint - run.log_variational) + (path - score) * again.log_variational
    if model is not path:
        total = total + (model - path) * again.log_joint
    return total.sum(0)


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


def _independent(name: str, fn: Distribution) -> Distribution:
    """The distribution of each number of an event, if they are independent."""
    base = fn
    while isinstance(base, Independent):
        base = base.base_dist
    if base.event_shape:
        raise ValueError(
            f"latent {name!r}: a {_family(fn)} is not independent over its dimensions; take per='site' where there is "
            "that option, or a family such as pv.Normal"
        )
    return base


def _closed_kl(q: Distribution, p: Distribution) -> Tensor:
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return kl_divergence(_joint_normal(q), _joint_normal(p))


def _joint_normal(fn: Distribution) -> Distribution:
    """A vector of independent normals as the multivariate one."""
    base = fn.base_dist if isinstance(fn, Independent) else None
    if isinstance(base, Normal) and fn.reinterpreted_batch_ndims == 1:
        return MultivariateNormal(base.loc, scale_tril=base.scale.diag_embed())
    return fn


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


def _family(fn: Distribution) -> str:
    while isinstance(fn, Independent):
        fn = fn.base_dist
    return type(fn).__name__


def _whole(name: str, value: int, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    return value


def _within(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> float:
    if not math.isfinite(value) or not low <= value <= high:
        limits = f"within [{low:g}, {high:g}]" if high < math.inf else f"of at least {low:g}" if low > -math.inf else ""
        raise ValueError(f"{name}: expected a finite number {limits}".rstrip() + f", got {value}")
    return float(value)
