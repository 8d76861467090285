"""Networks whose outputs keep a mean of zero and a scale of one over the data."""

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_choice, check_within
from pyro_vae.networks.mlp import mlp
from pyro_vae.networks.network import Builder, Network, Shape, build, check_builder
from pyro_vae.recipes import recorded

EPSILON = 1e-3  # added to a variance
CHOICES = ("running", "batch")
ROWS = 8  # see `_hold`


class Standardise(nn.Module):
    r"""Numbers less their mean, over their standard deviation, plus a learned bias.

    .. math:: y_j = \frac{x_j - m_j}{\sqrt{v_j + \epsilon}} + b_j

    m and v are running statistics. In a training step they move towards the mean and the variance
    of the batch, over draws and data alike, after the values are computed.

    With `by="running"` the values are made of the running statistics in training too. So the
    numbers of a datum depend on no other datum and on no other draw. Draws may be taken together,
    and a bound in training is that of the pair. The gradient is that of batch normalisation: it
    knows that the mean and variance of the batch change with x. (Ioffe, 2017)

    With `by="batch"` the values in training are made of the batch's own statistics. That is batch
    normalisation. It is for q(z | x), which may depend on anything that is observed. (Ioffe &
    Szegedy, 2015)

    Arguments:
        size: The numbers, the last dimension of x.
        by: Whose statistics make the values in training, "running" or "batch".
        momentum: The weight of a new batch in the running statistics. The first batches are
            averaged.

    Raises:
        ValueError: if `by` is neither, or `momentum` is not between 0 and 1.

    Example:
        >>> Standardise(3)(torch.ones(5, 3)).shape
        torch.Size([5, 3])
    """

    def __init__(self, size: int, *, by: str = "running", momentum: float = 0.1):
        super().__init__()

        check_choice("by", by, CHOICES)
        self.by = by
        self.momentum = check_within("momentum", momentum, 0.0, 1.0)
        self.bias = nn.Parameter(torch.zeros(size))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return (x - self.mean) / (self.variance + EPSILON).sqrt() + self.bias

        mean = x.detach().mean(0)
        variance = (x.detach() - mean).square().mean(0)
        stretch, shift = self._compare(mean, variance)
        self._update(mean, variance)

        return _normalise(x, stretch, shift + self.bias)

    def _compare(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """What takes numbers that the batch standardised to what makes the values."""
        if self.by == "batch":
            return torch.ones_like(mean), torch.zeros_like(mean)

        is_first = self.batches == 0
        known_mean = torch.where(is_first, mean, _hold(self.mean))
        known_variance = torch.where(is_first, variance, _hold(self.variance))
        scale = (known_variance + EPSILON).sqrt()

        return (variance + EPSILON).sqrt() / scale, (mean - known_mean) / scale

    def _update(self, mean: Tensor, variance: Tensor) -> None:
        self.batches.add_(1)
        weight = (1 / self.batches).clamp(min=self.momentum)
        self.mean.lerp_(mean, weight)
        self.variance.lerp_(variance, weight)


def _normalise(x: Tensor, stretch: Tensor, shift: Tensor) -> Tensor:
    """Batch normalisation, with gradients. torch's own function refuses a batch of one row."""
    return torch.batch_norm(x, stretch, shift, None, None, True, 0.0, EPSILON, False)


def _hold(statistic: Tensor) -> Tensor:
    """The statistic as it is now, though it will change before the gradients are computed.

    Compiled code computes cheap things anew for the gradients, a copy too. It keeps a mean.
    """
    return statistic.expand(ROWS, -1).mean(0)


@recorded
def standardised(net: Builder | nn.Module = mlp, *, by: str = "batch") -> Builder:
    """A builder of networks whose outputs pass through `Standardise`, each number by itself.

    In q(z | x) it keeps latents from being switched off early, because their locations keep a scale
    of one over the data. Topic models need it, see `topics`.

    Arguments:
        net: The builder of the network itself, or a module.
        by: Whose statistics make the values in training, "batch" or "running".

    Example:
        >>> q = standardised(mlp)([(3,)], (4,))
        >>> q(torch.randn(7, 5, 3)).shape
        torch.Size([7, 5, 4])
    """
    check_builder(net)
    check_choice("by", by, CHOICES)

    def build_standardised(given_shapes: list[Shape], out_shape: Shape) -> Network:
        inner = build(net, given_shapes, out_shape)
        last = Standardise(torch.Size(out_shape).numel(), by=by)

        return Network(_Chain(inner, last), given_shapes, out_shape)

    return build_standardised


class _Chain(nn.Module):
    def __init__(self, net: nn.Module, last: nn.Module):
        super().__init__()

        self.net = net
        self.last = last

    def forward(self, *given: Tensor) -> Tensor:
        return self.last(self.net(*given).flatten(1))
