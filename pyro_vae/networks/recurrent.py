"""Networks over sequences: what comes later, and one gated step."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pyro_vae.networks.network import Network, Shape
from pyro_vae.recipes import Recorded, recorded


class Backward(Recorded, nn.Module):
    """A recurrent network from the end of each sequence to its beginning.

    Its output at t knows x_t, ..., x_T, and nothing that lies beyond the length of the sequence.
    Nothing is packed: each sequence is reversed within its length by an index, so that it can be
    exported.

    Arguments:
        features: The numbers of one step of x.
        hidden: The numbers of its output at each step.
        cell: A class of recurrent networks, `nn.GRU` or `nn.RNN` for example.

    Example:
        >>> encode = Backward(88, 100)
        >>> encode(torch.zeros(5, 20, 88), torch.full((5,), 20)).shape
        torch.Size([5, 20, 100])
    """

    def __init__(self, features: int, hidden: int, cell: type[nn.RNNBase] = nn.GRU):
        super().__init__()
        self.features, self.hidden = features, hidden
        self.cell = cell(features, hidden, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """`[n, T, hidden]` from x, `[n, T, *event]`, and lengths, `[n]`."""
        x = x.unsqueeze(-1).flatten(2).to(next(self.parameters()).dtype)
        t = torch.arange(x.shape[1], device=x.device)
        last = lengths.unsqueeze(-1) - 1
        place = torch.where(t <= last, last - t, t).unsqueeze(-1)

        h, _ = self.cell(x.gather(1, place.expand_as(x)))
        return h.gather(1, place.expand_as(h))


@recorded
def gated(
    given_shapes: Sequence[Shape],
    out_shape: Shape,
    *,
    hidden: int = 200,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> Network:
    """One step of a gated transition, for `pv.Normal(d, given=d, net=pv.networks.gated)`.

    A gate chooses, for each number, between a linear and a non-linear location. The linear one
    starts as the identity. (Krishnan, Shalit & Sontag, 2017)

    Arguments:
        given_shapes: The shapes of the given variables; the first is z of the step before.
        out_shape: The shape of what comes out, two numbers for each of z: location and scale.
        hidden: The width of the hidden layers.
        activation: Makes the activation between layers.

    Raises:
        ValueError: if not one vector is given, or other than two numbers for each of it come out.

    Example:
        >>> gated([(4,)], (8,))(torch.zeros(5, 4)).shape
        torch.Size([5, 8])
    """
    shapes = [tuple(shape) for shape in given_shapes]
    if len(shapes) != 1 or len(shapes[0]) != 1 or out_shape != (2 * shapes[0][0],):
        raise ValueError(
            "gated: expected one vector given, and a location and a scale for each of its "
            f"numbers, got given_shapes {shapes} and out_shape {tuple(out_shape)}; take "
            "pv.Normal(d, given=d)"
        )
    return Network(_Gated(shapes[0][0], hidden, activation), shapes, out_shape)


class _Gated(nn.Module):
    def __init__(self, d: int, hidden: int, activation: Callable[[], nn.Module]):
        super().__init__()
        self.gate = nn.Sequential(
            nn.Linear(d, hidden), activation(), nn.Linear(hidden, d), nn.Sigmoid()
        )
        self.proposed = nn.Sequential(nn.Linear(d, hidden), activation(), nn.Linear(hidden, d))
        self.linear = nn.Linear(d, d)
        self.scale = nn.Sequential(activation(), nn.Linear(d, d))
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, z: Tensor) -> Tensor:
        gate, proposed = self.gate(z), self.proposed(z)
        loc = (1 - gate) * self.linear(z) + gate * proposed

        return torch.cat([loc, self.scale(proposed)], -1)
