"""The VAE of sequences: the deep Markov model (Krishnan, Shalit & Sontag, 2017)."""

from collections.abc import Sequence

import pyro
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_whole
from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.distributions.markov import Markov
from pyro_vae.pairs.admission import ChecksData
from pyro_vae.pairs.parameters import register
from pyro_vae.pairs.parts import (
    check_parts,
    compare_shapes,
    compare_supports,
    find_event,
    find_given,
    write_story,
)
from pyro_vae.supports import describe, is_real


class SequenceVAE(ChecksData):
    r"""z_t ~ p(z_t | z_{t-1}), x_t ~ p(x_t | z_t), for t up to the length of each sequence.

    .. math:: p(x, z) = \prod_{t \le \mathrm{length}} p(z_t \mid z_{t-1}) \, p(x_t \mid z_t)

    The variational is z_t ~ q(z_t | z_{t-1}, h_t), where h_t is what an encoder knows of
    x_t, ..., x_T. All z of a sequence are one latent `[T, d]`. x is `[n, T, *event]`, padded beyond
    the lengths with values within the support. The lengths follow x, whole numbers `[n]`. z_0 is
    learned, under p and q.

    q draws in a loop over the steps, which a compiler unrolls. Ten steps took 105 seconds of CPU
    time to compile, and more steps take longer. So leave `compile=True` away for sequences.

    Arguments:
        transition: p(z_t | z_{t-1}), over vectors of d numbers, given d.
        emission: p(x_t | z_t), given d.
        variational: q(z_t | z_{t-1}, h_t), given [d, hidden].
        encoder: A module of x and lengths that returns h, `[n, T, hidden]`,
            `pv.networks.Backward(features, hidden)` for example.
        name: The name under which the parameters are registered with Pyro.

    Raises:
        ValueError: if the shapes of the parts do not fit together, or a length is below 1 or above
            the steps of x.
        TypeError: if lengths are no whole numbers.

    Example:
        >>> pair = SequenceVAE(
        ...     transition=pv.Normal(4, given=4, net=pv.networks.gated),
        ...     emission=pv.Bernoulli(88, given=4),
        ...     variational=pv.Normal(4, given=[4, 16]),
        ...     encoder=pv.networks.Backward(88, 16),
        ... )
        >>> pair
        SequenceVAE(
          p(z_t|z_t-1)     = Normal((4,) | (4,))
          p(x_t|z_t)       = Bernoulli((88,) | (4,))
          q(z_t|z_t-1,h_t) = Normal((4,) | (4,), (16,))
        )
        >>> x, lengths = torch.zeros(5, 20, 88), torch.tensor([20, 3, 7, 1, 20])
        >>> pv.diagnostics.log_weights(pair, x, lengths, num_samples=2).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        *,
        transition: nn.Module,
        emission: nn.Module,
        variational: nn.Module,
        encoder: nn.Module,
        name: str = "sequence",
    ):
        super().__init__()

        check_parts(
            name, transition=transition, emission=emission, variational=variational, encoder=encoder
        )
        shapes_of_z = {
            "transition": find_event(transition),
            "transition (given)": find_given(transition),
            "emission (given)": find_given(emission),
            "variational": find_event(variational),
            "variational (given)": find_given(variational),
        }
        compare_shapes("z_t", shapes_of_z)
        compare_supports("z_t", transition, variational)
        _refuse_bounded(transition)
        _refuse_without_context(variational)
        self.transition = transition
        self.emission = emission
        self.variational = variational
        self.encoder = encoder
        self.name = name
        self.start = nn.Parameter(torch.zeros(transition.event_shape))
        self.variational_start = nn.Parameter(torch.zeros(transition.event_shape))

    def model(self, x: Tensor, lengths: Tensor) -> Tensor:
        register(self, self.name)
        is_within = _find_steps(x, lengths)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", Markov(self.transition, self.start, is_within))
            return pyro.sample("x", self.emission(z).mask(is_within).to_event(1), obs=x)

    def guide(self, x: Tensor, lengths: Tensor) -> Tensor:
        register(self, self.name)
        is_within = _find_steps(x, lengths)
        h = self.encoder(x, lengths)
        with pyro.plate("data", x.shape[0]):
            q = Markov(self.variational, self.variational_start, is_within, h)
            return pyro.sample("z", q)

    def check_data(self, *data: Tensor) -> None:
        if len(data) != 2:
            raise TypeError(
                f"data: expected x and the lengths of its rows, got {len(data)} tensors"
            )
        x, lengths = data
        if x.dim() < 2:
            raise ValueError(f"x: expected sequences [n, T, *event], got shape {list(x.shape)}")
        if x.shape[1] == 0:
            raise ValueError(f"x: expected at least one step, got shape {list(x.shape)}")
        check_lengths(lengths, x.shape[1])
        if len(lengths) != len(x):
            raise ValueError(f"lengths: expected as many rows as x, {len(x)}, got {len(lengths)}")

    def make_template(
        self, count: int, given: Tensor | int | Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Zeros in the place of x, and lengths, for so many sequences to be drawn.

        Arguments:
            count: How many.
            given: Their lengths, whole numbers `[count]`, or one for all.

        Raises:
            TypeError: if the lengths are no whole numbers.
            ValueError: if count is not positive, a length is below 1, there is not one for each
                sequence, or the emission does not say its shape.
        """
        lengths = _take_lengths(given)
        count = check_whole("data", count)
        if lengths.dim() == 0:
            lengths = lengths.expand(count)
        check_lengths(lengths)
        if len(lengths) != count:
            raise ValueError(
                f"given: expected a length for each of the {count} draws, or one for "
                f"all, got {len(lengths)}"
            )

        lengths = lengths.to(self.start.device)
        event = find_event(self.emission)
        if event is None:
            raise ValueError(
                "data: the emission does not say its event_shape; pass a template x [n, T, *event] "
                "and the lengths, simulate(pair, x, lengths)"
            )

        return self.start.new_zeros(count, int(lengths.max()), *event), lengths

    def __repr__(self) -> str:
        parts = {
            "p(z_t|z_t-1)": self.transition,
            "p(x_t|z_t)": self.emission,
            "q(z_t|z_t-1,h_t)": self.variational,
        }
        return write_story(type(self).__name__, parts)


def check_lengths(lengths: Tensor, steps: int | None = None) -> None:
    """Raise an error if lengths are no whole numbers `[n]` of 1 to so many steps."""
    is_whole = not lengths.is_floating_point() and lengths.dtype != torch.bool
    if not is_whole or lengths.dim() != 1:
        raise TypeError(
            "lengths: expected whole numbers [n], one for each row, got "
            f"{lengths.dtype} of shape {list(lengths.shape)}"
        )
    most = int(lengths.max()) if steps is None else steps
    wrong = (lengths < 1) | (lengths > most)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        bounds = "1 or more" if steps is None else f"1 to {steps}, the steps of x"
        raise ValueError(f"lengths: expected {bounds}, got {int(lengths[row])} in row {row}")


def _take_lengths(given: Tensor | int | Sequence[Tensor]) -> Tensor:
    if isinstance(given, Tensor | int | float):
        return torch.as_tensor(given)
    if len(given) == 1:
        return given[0]

    raise ValueError(
        "given: expected the lengths of the sequences to be drawn, simulate(pair, n, "
        f"given=lengths), got {len(given)} tensors"
    )


def _find_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """Which steps lie within each sequence, `[n, T]`."""
    return torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(-1)


def _refuse_bounded(transition: nn.Module) -> None:
    """Raise a ValueError if z_t is not real: beyond the end of a sequence it is normal."""
    support = transition.support if isinstance(transition, Conditional) else None
    if support is not None and not is_real(support):
        raise ValueError(
            f"transition: expected a distribution over the reals, got {transition}, which is over "
            f"{describe(support)}"
        )


def _refuse_without_context(variational: nn.Module) -> None:
    """Raise a ValueError if the variational is not given two variables."""
    if isinstance(variational, Conditional) and len(variational.given_shapes) != 2:
        raise ValueError(
            "variational: expected a distribution given two variables, z_{t-1} and h_t, "
            f"given=[d, hidden], got {variational}"
        )
