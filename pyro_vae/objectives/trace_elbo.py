"""Pyro's `Trace_ELBO`, in arithmetic that never leaves the tensors."""

from collections.abc import Iterator
from typing import Any

from pyro.distributions.util import is_identically_zero
from pyro.infer import Trace_ELBO
from pyro.infer.util import MultiFrameTensor
from pyro.poutine import Trace
from torch import Tensor

from pyro_vae.weights.traces import hide_observed


class TensorTraceELBO(Trace_ELBO):
    """`Trace_ELBO` without a number that is read off a tensor.

    Pyro's own turns its terms into Python numbers at each step. So it cannot be exported, and it
    waits for a GPU. This one draws the same, and has the same value and gradient. `Objective` runs
    it, and so does `CompiledTrace_ELBO`.

    What a guide observes is no latent. Pyro's subtracts its log-probability all the same, which is
    then no ELBO. Here it does not count. A `pyro.factor` of the guide counts as it does there.
    """

    def _get_traces(self, model, guide, args, kwargs) -> Iterator[tuple[Trace, Trace]]:
        yield from super()._get_traces(model, hide_observed(guide), args, kwargs)

    def _differentiable_loss_particle(
        self, model_trace: Trace, guide_trace: Trace
    ) -> tuple[Tensor, Tensor]:
        model_sites, guide_sites = _samples(model_trace), _samples(guide_trace)

        elbo: Any = 0.0  # a tensor from the first site on
        for site in model_sites:
            elbo = elbo + site["log_prob_sum"]
        surrogate = elbo
        for site in guide_sites:
            elbo = elbo - site["log_prob_sum"]
            entropy_term = site["score_parts"].entropy_term
            if not is_identically_zero(entropy_term):
                surrogate = surrogate - entropy_term.sum()

        return -elbo, -(surrogate + _sum_scores(model_trace, guide_trace))

    def differentiable_loss(self, model, guide, *args, **kwargs) -> Tensor:
        loss: Any = 0.0  # a tensor from the first particle on
        for model_trace, guide_trace in self._get_traces(model, guide, args, kwargs):
            value, surrogate = self._differentiable_loss_particle(model_trace, guide_trace)
            # the value of one, and the gradient of the other
            loss = loss + (value.detach() + surrogate - surrogate.detach()) / self.num_particles
        return loss


def take_options(elbo: Trace_ELBO) -> TensorTraceELBO:
    """The same ELBO with the options of one of Pyro's."""
    ours = TensorTraceELBO()
    ours.__dict__.update(elbo.__dict__)
    return ours


def _sum_scores(model_trace: Trace, guide_trace: Trace) -> Tensor | float:
    """The surrogate for the latents without reparametrised draws, whose gradient is the score's."""
    total: Tensor | float = 0.0
    log_r: MultiFrameTensor | None = None
    for site in _samples(guide_trace):
        score = site["score_parts"].score_function
        if is_identically_zero(score):
            continue
        if log_r is None:
            log_r = _find_log_r(model_trace, guide_trace)
        total = total + (log_r.sum_to(_find_plates(site)) * score).sum()
    return total


def _find_log_r(model_trace: Trace, guide_trace: Trace) -> MultiFrameTensor:
    """log p(x, z) - log q(z | x) by plates."""
    total = MultiFrameTensor()
    for site in _samples(model_trace):
        term = site["log_prob"]
        if not site["is_observed"]:
            term = term - guide_trace.nodes[site["name"]]["log_prob"]
        total.add((_find_plates(site), term.detach()))
    return total


def _find_plates(site: dict) -> tuple:
    """The plates of a site without their sizes: a symbolic size has no hash."""
    return tuple(frame._replace(size=-1, full_size=-1) for frame in site["cond_indep_stack"])


def _samples(run: Trace) -> list[dict]:
    return [site for site in run.nodes.values() if site["type"] == "sample"]
