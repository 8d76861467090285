"""What all objectives share: one run of guide and model, and the contract of a bound."""

from functools import partial
from types import SimpleNamespace

import torch
from pyro import infer, poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from pyro_vae.arguments import check_whole
from pyro_vae.weights.obstacles import find_obstacles
from pyro_vae.weights.traces import latent_values, log_prob, sample_sites, trace

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

    def __init__(self, model, guide, args: tuple, kwargs: dict, draws: int):
        self._call = partial(model, **kwargs), partial(guide, **kwargs), args
        self._plate = draws if draws > 1 else None
        guide_trace = trace(self._call[1], args, draws=self._plate)
        self._drawn = {
            name: site["value"]
            for name, site in guide_trace.nodes.items()
            if site["type"] == "sample" and not site["is_observed"]
        }
        self.traces = (
            trace(self._call[0], args, draws=self._plate, latents=self._drawn),
            guide_trace,
        )
        self.model, self.guide = map(sample_sites, self.traces)

        problems = find_obstacles(*(SimpleNamespace(nodes=nodes) for nodes in (self.model, self.guide)))
        if problems:
            raise ValueError("this pair has no bound per datum: " + "; ".join(problems))
        observed = [site for site in self.model.values() if site["is_observed"]]
        if not observed:
            raise ValueError(
                "model: it observes nothing, so there is no log p(x); pass obs=x to the site of the data"
            )
        frame = next(frame for frame in observed[0]["cond_indep_stack"] if frame.name == "data")
        self.shape, self.scale, self.device = (
            (draws, frame.size),
            observed[0]["scale"],
            observed[0]["value"].device,
        )

    def _total(self, sites: dict[str, dict], *, scaled: bool = True) -> Tensor:
        total = torch.zeros(self.shape, device=self.device)
        for name, site in sites.items():
            total = total + self.per_datum(
                name, log_prob(site), site["scale"] if scaled else self.scale
            )
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
        return {
            name: (q, self.model[name]) for name, q in self.guide.items() if not q["is_observed"]
        }

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
        ratios = [
            site["scale"] / self.scale for site in [*self.model.values(), *self.guide.values()]
        ]
        return any(isinstance(r, Tensor) or (isinstance(r, float) and r != 1) for r in ratios)

    def kl(self) -> dict[str, Tensor]:
        """KL(q ‖ p) of each latent, `[draws, data]`: in closed form where there is one, else log q - log p."""
        ordered = [name for name in self.model if name in self.latents] == list(self.latents)
        terms = {}
        for name, (q, p) in self.latents.items():
            try:
                if not ordered:
                    raise NotImplementedError
                # not every closed form broadcasts, and replayed sites are not expanded to their
                # plates
                exact = _closed_kl(*(site["fn"].expand(self.shape) for site in (q, p)))
                exact = scale_and_mask(exact, mask=q["mask"])
                terms[name] = self.per_datum(name, exact, q["scale"])
            except NotImplementedError:
                terms[name] = self._total({name: q}) - self._total({name: p})
        return terms

    @property
    def log_joint_at_constants(self) -> Tensor:
        """log p(x, z), the draws as constants: the model once more."""
        model, _, args = self._call
        return self._total(
            sample_sites(trace(model, args, draws=self._plate, latents=self._constants()))
        )

    @property
    def log_variational_at_constants(self) -> Tensor:
        """log q(z | x), the draws as constants: where one latent does not depend on another, without a second run."""
        (_, guide, args), drawn, sites = self._call, self._constants(), self.guide
        if len(self.latents) > 1:
            sites = sample_sites(trace(guide, args, draws=self._plate, latents=drawn))
        return self._total(
            {name: {**q, "value": drawn.get(name, q["value"])} for name, q in sites.items()}
        )

    def _constants(self) -> dict[str, Tensor]:
        return {name: z.detach() for name, z in self._drawn.items()}

    def prior_draws(self) -> dict[str, Tensor]:
        """Draws of p(z), of the shape of those of q."""
        model, _, args = self._call
        plates = {name: value for name, value in self._drawn.items() if name not in self.guide}
        drawn = latent_values(
            trace(poutine.uncondition(model), args, draws=self._plate, latents=plates)
        )
        return {name: drawn[name] for name in self.latents}


class Bound(infer.ELBO):
    """What every objective here shares; one of your own states `per_datum` and says what it bounds.

    Arguments:
        num_samples: Draws of q(z | x) per datum, k, taken together under a plate at dimension -2.
        gradient: One of `gradients`.

    Attributes:
        bound: "lower", if minus the loss bounds log p(x), summed over data, from below in
            expectation; else None.
        gradients: The gradient estimators that it admits.

    Raises:
        ValueError: if `num_samples` is below 1, `gradient` is none of `gradients`, or, when run,
            the pair has sites outside the plate "data", latents that only one side has, or discrete
            ones without a gradient for them.
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
        super().__init__(num_particles=check_whole("num_samples", num_samples), vectorize_particles=True)

        if gradient not in self.gradients:
            raise ValueError(
                f"gradient: {type(self).__name__} admits {', '.join(map(repr, self.gradients))}, got {gradient!r}"
            )
        if gradient == LEAVE_ONE_OUT and num_samples < 2:
            raise ValueError(
                f"num_samples: leaving one draw out takes at least 2, got {num_samples}"
            )
        self.gradient = gradient
        self._compared = False

    def per_datum(self, run: Run) -> Tensor:
        """The estimate for each datum, `[n]`, in nats, up is good; its gradient is the estimator's."""
        raise NotImplementedError

    def routes(self, run: Run, model: Tensor, path: Tensor, score: Tensor) -> Tensor:
        """A number per datum with the gradient Σ model·D + path·P - score·S, see `WeightBound`."""
        again = run.log_variational_at_constants
        self._compare("guide", run.log_variational, again)
        total = path * (run.log_joint - run.log_variational) + (path - score) * again
        if model is not path:
            again = run.log_joint_at_constants
            self._compare("model", run.log_joint, again)
            total = total + (model - path) * again
        self._compared |= not torch.compiler.is_compiling()
        return total.sum(0)

    def _compare(self, role: str, first: Tensor, second: Tensor) -> None:
        """Once: a flow's inverse is exact for most draws only, but what is random differs nearly everywhere."""
        if self._compared or torch.compiler.is_compiling():
            return
        first, second = first.detach(), second.detach()
        if (first - second).abs().median() > 1e-3 * (1 + first.abs().median()):
            raise ValueError(
                f"gradient: {self.gradient!r} runs the {role} twice at the same draws, and found two densities: it is "
                "random beyond its latents. Take dropout out of it, or another objective"
            )

    def differentiable_loss(self, model, guide, *args, **kwargs) -> Tensor:
        """Minus the scaled sum over data, in nats, a scalar."""
        run = Run(model, guide, args, kwargs, self.num_particles)
        if self.gradient in (REPARAMETRISED, DOUBLY, LANDING):
            for name, q in run.without_path.items():
                advice = [f"gradient={g!r}" for g in self.gradients if g in (SCORE, LEAVE_ONE_OUT)]
                raise ValueError(
                    f"latent {name!r} ({family_name(q['fn'])}) has no reparametrised draws, which gradient="
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
        return (
            f"{type(self).__name__}(num_samples={self.num_particles}, gradient={self.gradient!r})"
        )


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


def family_name(fn: Distribution) -> str:
    while isinstance(fn, Independent):
        fn = fn.base_dist
    return type(fn).__name__
