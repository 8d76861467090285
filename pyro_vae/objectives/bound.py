"""The contract of a bound: an estimate for each datum, and the gradients that it admits."""

import torch
from pyro import infer
from pyro.poutine import Trace
from torch import Tensor

from pyro_vae.arguments import check_whole
from pyro_vae.objectives.kl import name_family
from pyro_vae.objectives.run import Run

REPARAMETRISED, DOUBLY = "reparametrised", "doubly_reparametrised"
LANDING = "sticking_the_landing"
SCORE, LEAVE_ONE_OUT, WAKE = "score", "leave_one_out", "wake"

NEEDS_PATH = (REPARAMETRISED, DOUBLY, LANDING)
NEEDS_PLAIN_WEIGHTS = (DOUBLY, WAKE)


class Bound(infer.ELBO):
    """What every objective of this package shares.

    An objective of your own states `per_datum` and says what it bounds.

    Arguments:
        num_samples: Draws of q(z | x) per datum, k, taken together under a plate at dimension -2.
        gradient: One of `gradients`.

    Attributes:
        bound: "lower", if minus the loss bounds log p(x), summed over data, from below in
            expectation. None, if it does not.
        gradients: The gradient estimators that it admits.
        is_average: Whether it is an average of the terms of the ELBO, which a heavier KL lowers.

    Raises:
        ValueError: if `num_samples` is below 1, or `gradient` is none of `gradients`. When run, if
            the pair has sites outside the plate over the data, latents that only one side has, or
            discrete ones without a gradient for them.
        TypeError: if `num_samples` is no whole number.

    Example:
        >>> class Reconstruction(Bound):
        ...     bound = None
        ...     def per_datum(self, run):
        ...         return run.weights.log_likelihood.mean(0)
        >>> Reconstruction(3)
        Reconstruction(num_samples=3, gradient='reparametrised')
    """

    bound: str | None = "lower"
    gradients: tuple[str, ...] = (REPARAMETRISED,)
    is_average: bool = False

    def __init__(self, num_samples: int = 1, gradient: str = REPARAMETRISED):
        num_samples = check_whole("num_samples", num_samples)
        if gradient not in self.gradients:
            admitted = ", ".join(map(repr, self.gradients))
            raise ValueError(f"gradient: {type(self).__name__} admits {admitted}, got {gradient!r}")
        if gradient == LEAVE_ONE_OUT and num_samples < 2:
            raise ValueError(
                f"num_samples: leaving one draw out takes at least 2, got {num_samples}"
            )

        super().__init__(num_particles=num_samples, vectorize_particles=True)
        self.gradient = gradient
        self._was_compared = False

    def per_datum(self, run: Run) -> Tensor:
        """The estimate for each datum, `[n]`, in nats. Up is good.

        Its gradient is that of the estimator.
        """
        raise NotImplementedError

    def route_gradients(self, run: Run, model: Tensor, path: Tensor, score: Tensor) -> Tensor:
        """A number per datum with the gradient Σ model·D + path·P - score·S.

        D, P and S are those of `WeightBound`. Their factors are `[k, n]` each.
        """
        weights = run.weights
        log_q = run.score_variational_again()
        self._compare("guide", weights.log_variational, log_q)
        total = path * weights.log_weight + (path - score) * log_q

        if model is not path:
            log_p = run.score_joint_again()
            self._compare("model", weights.log_joint, log_p)
            total = total + (model - path) * log_p

        self._was_compared |= not torch.compiler.is_compiling()
        return total.sum(0)

    def _compare(self, role: str, first: Tensor, second: Tensor) -> None:
        """Compare two scores of the same draws, once.

        A flow's inverse is exact for most draws only. What is random differs nearly everywhere.
        """
        if self._was_compared or torch.compiler.is_compiling():
            return

        first, second = first.detach(), second.detach()
        difference = (first - second).abs().median()
        if difference > 1e-3 * (1 + first.abs().median()):
            raise ValueError(
                f"gradient: {self.gradient!r} runs the {role} twice at the same draws, and found "
                "two densities: it is random beyond its latents. Take dropout out of it, or "
                "another objective"
            )

    def differentiable_loss(self, model, guide, *args, **kwargs) -> Tensor:
        """Minus the scaled sum over data, in nats, a scalar."""
        run = Run(model, guide, args, kwargs, self.num_particles)
        self._check_latents(run)
        self._check_scales(run)

        return -(self.per_datum(run) * run.scale).sum()

    def _check_latents(self, run: Run) -> None:
        if run.has_listed and self.gradient != REPARAMETRISED:
            raise ValueError(
                f"gradient: the guide lists a latent, which is summed over, and gradient="
                f"{self.gradient!r} is for latents that are drawn; take 'reparametrised'"
            )
        if self.gradient not in NEEDS_PATH:
            return
        for name, q in run.latents_without_path.items():
            others = [g for g in self.gradients if g in (SCORE, LEAVE_ONE_OUT)]
            advice = [*(f"gradient={g!r}" for g in others), "pv.VIMCO(num_samples)"]
            raise ValueError(
                f"latent {name!r} ({name_family(q['fn'])}) has no reparametrised draws, which "
                f"gradient={self.gradient!r} needs; take {' or '.join(advice)}"
            )

    def _check_scales(self, run: Run) -> None:
        if self.gradient in NEEDS_PLAIN_WEIGHTS and run.is_tempered:
            raise ValueError(
                f"gradient: {self.gradient!r} is wrong where a KL weight tempers the importance "
                "weights; take another gradient, or pv.EvidenceLowerBound() or pv.AnalyticKL() "
                "under the KL weight"
            )

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
        name = type(self).__name__
        return f"{name}(num_samples={self.num_particles}, gradient={self.gradient!r})"
