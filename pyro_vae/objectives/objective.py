"""The seam between a pair and any engine: the mean loss per datum, as a module."""

from functools import partial

from pyro.infer import ELBO, Trace_ELBO
from torch import Tensor, nn

from pyro_vae.arguments import check_methods, check_pair, say
from pyro_vae.compiling.loss import CompiledLoss
from pyro_vae.objectives.bound import Bound
from pyro_vae.objectives.compiled import Compiled, as_exportable
from pyro_vae.objectives.schedules import Scheduled
from pyro_vae.objectives.trace_elbo import TensorTraceELBO, take_options
from pyro_vae.objectives.weighted import EvidenceLowerBound
from pyro_vae.pairs.labelled import LabelledVAE
from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.pairs.vae import VAE


class Loss(nn.Module):
    """A module whose call on a batch is the mean loss per datum, in nats.

    Attributes:
        is_lower_bound: Whether minus the loss is a lower bound on log p(x), in expectation.
    """

    is_lower_bound: bool = False

    def check_training(self, *data: Tensor) -> None:
        """Raise a ValueError if a term of the loss would be idle with these training data.

        `fit` calls it with all of them, where they are in memory.
        """


def check_objective(objective: object) -> None:
    """Raise a TypeError unless it is an objective, a module whose call is a loss.

    Example:
        >>> check_objective(pv.Objective(vae))
    """
    is_pair = callable(getattr(objective, "guide", None))
    if is_pair or not isinstance(objective, nn.Module):
        raise TypeError(
            "objective: expected an objective made of a pair, such as pv.Objective(pair) or "
            f"pv.Objective(pair, pv.ImportanceWeighted(5)), got {say(objective)}"
        )


def lists_latents(pair: nn.Module) -> bool:
    """Whether a pair of this package lists a latent, which is then summed over."""
    return isinstance(pair, LabelledVAE) or (isinstance(pair, VAE) and pair.enumerate)


class Objective(Loss):
    r"""The mean loss per datum, in nats, as a module: the seam at which any engine takes hold.

    .. math:: -\frac{1}{n} \sum_i \mathrm{ELBO}(x_i)

    It is a mean, so that the averaged gradients of several processes are those of one process. It
    uses the pair's own parameters, never those of the global store. (Kingma & Welling, 2014)

    Use:
        objective: the first choice, with stock `Trace_ELBO`; every bound below is its `elbo=`.

    Arguments:
        pair: The pair.
        elbo: Any of Pyro's, or of this package, or an object with the same
            `differentiable_loss(model, guide, *data)`. By default `Trace_ELBO()`, which stays in
            tensors here, see `TensorTraceELBO`; or `EvidenceLowerBound()`, where the pair lists a
            latent that is summed over.

    Raises:
        TypeError: if `pair` is no module with the methods model and guide, or `elbo` is no such
            object.

    Example:
        >>> pv.Objective(vae)(x).shape
        torch.Size([])
    """

    _compiled_call_impl: CompiledLoss | None

    def __init__(self, pair: nn.Module, elbo: ELBO | None = None):
        super().__init__()

        check_pair(pair)
        if elbo is None:
            elbo = EvidenceLowerBound() if lists_latents(pair) else TensorTraceELBO()
        elif type(elbo) is Trace_ELBO:
            elbo = take_options(elbo)
        check_methods("elbo", elbo, ["differentiable_loss"], "an object such as Trace_ELBO()")

        self.pair = pair
        self.elbo = elbo

    @property
    def is_lower_bound(self) -> bool:
        """Whether minus the loss is a lower bound on log p(x), in expectation."""
        elbo = self.elbo.elbo if isinstance(self.elbo, Compiled) else self.elbo
        return not isinstance(elbo, Bound) or elbo.bound == "lower"

    @property
    def is_average(self) -> bool:
        """Whether it is an average of the terms of the ELBO, and not of importance weights."""
        elbo = self.elbo.elbo if isinstance(self.elbo, Compiled) else self.elbo
        return not isinstance(elbo, Bound) or elbo.is_average or elbo.num_particles == 1

    @property
    def num_draws(self) -> int:
        """How many draws of z it takes for each datum."""
        elbo = self.elbo.elbo if isinstance(self.elbo, Compiled) else self.elbo
        return elbo.num_particles if isinstance(elbo, ELBO) else 1

    @property
    def is_compiled(self) -> bool:
        """Whether it runs compiled code."""
        return self._compiled_call_impl is not None

    def forward(self, *data: Tensor) -> Tensor:
        return self._average(self.elbo, *data)

    def set_gradients(self, *data: Tensor) -> Tensor:
        """The loss, without gradients of its own. They are left in the parameters.

        What `zero_grad`, a call and `backward` do, in less time where it is compiled.
        """
        if self._compiled_call_impl is not None:
            return self._compiled_call_impl.set_gradients(*data)

        self.zero_grad(set_to_none=True)
        loss = self(*data)
        loss.backward()
        return loss.detach()

    def compile(self) -> None:
        """From now on, run the handlers once and then compiled code, see `CompiledLoss`.

        Raises:
            TypeError: if the ELBO cannot be compiled.
        """
        elbo = as_exportable(self.elbo)
        advance = elbo.advance if isinstance(elbo, Scheduled) else None
        self._compiled_call_impl = CompiledLoss(
            partial(self._average, elbo), [self], before=advance
        )

    def uncompile(self) -> None:
        """Run Python again."""
        self._compiled_call_impl = None

    def _average(self, elbo: ELBO, *data: Tensor) -> Tensor:
        with OwnParameters():
            loss = elbo.differentiable_loss(self.pair.model, self.pair.guide, *data)
        return loss / data[0].shape[0]
