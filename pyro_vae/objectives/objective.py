"""Objectives: bounds on log p(x) as losses, and wrappers that weigh their terms; the pair is left alone."""

from functools import partial

from pyro.infer import ELBO, Trace_ELBO
from torch import Tensor, nn

from pyro_vae.compiling.loss import CompiledLoss
from pyro_vae.objectives.compiled import exportable
from pyro_vae.pairs.parameters import OwnParameters


class Objective(nn.Module):
    r"""The mean loss per datum, in nats, as a module: the seam at which any engine takes hold.

    .. math:: -\frac{1}{n} \sum_i \mathrm{ELBO}(x_i)

    A mean, so that the gradients of several processes, averaged, are those of one. It uses the
    pair's own parameters, never those of the global store. (Kingma & Welling, 2014)

    Use:
        objective: the first choice, with stock `Trace_ELBO`; every bound below is its `elbo=`.

    Arguments:
        pair: The pair.
        elbo: Any of Pyro's, or with the same `differentiable_loss(model, guide, *data)`; by default
            `Trace_ELBO()`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> pv.Objective(vae)(torch.ones(5, 3)).shape
        torch.Size([])
    """

    def __init__(self, pair: nn.Module, elbo: ELBO | None = None):
        super().__init__()

        for method in ("model", "guide"):
            if not callable(getattr(pair, method, None)):
                raise TypeError(
                    f"pair: expected a module with methods model and guide, got {type(pair).__name__}"
                )
        self.pair = pair
        self.elbo = Trace_ELBO() if elbo is None else elbo
        if not hasattr(self.elbo, "differentiable_loss"):
            raise TypeError(f"elbo: expected an object such as Trace_ELBO(), got {self.elbo!r}")

    @property
    def bound(self) -> bool:
        """Whether minus the loss is a lower bound on log p(x), in expectation."""
        return getattr(self.elbo, "bound", "lower") == "lower"

    def forward(self, *data: Tensor) -> Tensor:
        return self._mean(self.elbo, *data)

    def compile(self) -> None:
        """From now on, run the handlers once and then compiled code; see `CompiledLoss`.

        Raises:
            TypeError: if the ELBO cannot be compiled.
        """
        elbo = exportable(self.elbo)
        before = getattr(elbo, "advance", None)
        self._compiled_call_impl = CompiledLoss(partial(self._mean, elbo), [self], before=before)

    def _mean(self, elbo: ELBO, *data: Tensor) -> Tensor:
        with OwnParameters():
            return (
                elbo.differentiable_loss(self.pair.model, self.pair.guide, *data) / data[0].shape[0]
            )
