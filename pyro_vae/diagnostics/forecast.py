"""What comes after the end of a sequence, given the sequence up to there."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.arguments import check_whole
from pyro_vae.diagnostics.estimate import Estimate, average_weighted, join_blocks
from pyro_vae.diagnostics.imputation import find_mean
from pyro_vae.diagnostics.pareto import FEW, khat_threshold, pareto_khat
from pyro_vae.diagnostics.resampling import count_effective, draw_weighted, resample
from pyro_vae.pairs.sequence import SequenceVAE
from pyro_vae.progress import progress_bar
from pyro_vae.weights.blocks import count_fitting, count_numbers, cut
from pyro_vae.weights.intake import admit
from pyro_vae.weights.traces import quietly


@dataclass(frozen=True)
class Forecast(Estimate):
    """The steps that follow each sequence.

    Attributes:
        value: E[x_{t+1}, ... | x_1, ..., x_t], `[n, steps, *event]`. Of a Bernoulli they are
            probabilities. Of a family without a mean it is the mean of draws.
        stderr: Its Monte Carlo standard error.
        ess: The effective sample size per sequence, `[n]`, between 1 and the number of samples.
        khat: The Pareto shape of the largest weights, `[n]`.
        draws: Possible futures, all equally likely, `[draws, n, steps, *event]`.
        num_samples: Draws of z for each sequence.
    """

    ess: Tensor
    khat: Tensor
    draws: Tensor
    num_samples: int

    def warnings(self) -> list[str]:
        """Why the numbers are not to be trusted. It is empty if nothing speaks against them."""
        threshold = khat_threshold(self.num_samples)
        doubts = {
            f"fewer than {FEW} effective samples": self.ess < FEW,
            f"k̂ above {threshold:.2f}": self.khat > threshold,
        }
        return [
            f"{what} for {100 * where.double().mean().item():.3g} % of the sequences: the past "
            "weighs on few draws of q, and the errors come out too small. Take more, num_samples="
            for what, where in doubts.items()
            if where.any()
        ]

    def __str__(self) -> str:
        n, steps = self.value.shape[:2]
        ess = self.ess.quantile(torch.tensor([0.0, 0.5], dtype=self.ess.dtype)).tolist()
        head = (
            f"{steps} steps after each of {n} sequences, effective samples {ess[1]:.1f} in the "
            f"median and {ess[0]:.1f} at the least, of {self.num_samples}"
        )
        return "\n".join([head, *(f"warning: {warning}" for warning in self.warnings())])

    __repr__ = __str__


def forecast(
    pair: SequenceVAE,
    x: Tensor,
    lengths: Tensor,
    *,
    steps: int,
    num_samples: int = 1000,
    draws: int = 0,
    progress: bool = True,
) -> Forecast:
    r"""What follows the first steps of each sequence, by importance sampling of those steps.

    .. math:: E[x_{t+s} \mid x_{\le t}] \approx \sum_k \bar w_k \, E[x_{t+s} \mid z^k_{t+s}],
        \qquad \bar w_k \propto \frac{p(x_{\le t}, z^k_{\le t})}{q(z^k_{\le t} \mid x_{\le t})}

    z up to t is drawn from q. From there the transition runs on. For a draw, z_t is resampled by
    those weights. (Gordon, Salmond & Smith, 1993, resample so at every step. Here it is done once,
    at t.)

    Arguments:
        pair: A `SequenceVAE`.
        x: Sequences, `[n, T, *event]`.
        lengths: How many steps of each are given, `[n]`. Those beyond are not looked at.
        steps: How many steps to forecast.
        num_samples: Draws of z for each sequence.
        draws: How many futures to draw for each sequence.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `Forecast`.

    Raises:
        TypeError: if the pair is no `SequenceVAE`, or a count is no whole number.
        ValueError: as `log_weights`, or if a count is not positive.

    Example:
        >>> import pyro_vae as pv
        >>> pair = pv.SequenceVAE(
        ...     transition=pv.Normal(4, given=4, net=pv.networks.gated),
        ...     emission=pv.Bernoulli(88, given=4),
        ...     variational=pv.Normal(4, given=[4, 16]),
        ...     encoder=pv.networks.Backward(88, 16),
        ... )
        >>> x = torch.zeros(5, 20, 88)
        >>> found = forecast(pair, x, torch.full((5,), 12), steps=8, num_samples=50, draws=3)
        >>> found.value.shape, found.draws.shape
        (torch.Size([5, 8, 88]), torch.Size([3, 5, 8, 88]))
    """
    if not isinstance(pair, SequenceVAE):
        raise TypeError(f"pair: expected a SequenceVAE, got {type(pair).__name__}")
    steps = check_whole("steps", steps)
    num_samples = check_whole("num_samples", num_samples)
    draws = check_whole("draws", draws, least=0)
    x, lengths = admit(pair, (x, lengths))
    x = _hide_future(x, lengths)
    numbers = count_numbers(x) + steps * count_numbers(x[:, 0])
    size = count_fitting(num_samples * numbers)

    parts = []
    with progress_bar(len(x), "forecasting", show=progress, unit="datum") as bar, quietly(pair):
        for _, block in cut((x, lengths), size):
            parts.append(_forecast_block(pair, block, steps, num_samples, draws))
            bar.update(len(block[0]))
    means, weights, futures = zip(*parts, strict=True)
    mean, w = join_blocks(means, dim=0), torch.cat(weights, 1)

    return Forecast(
        value=mean.value,
        stderr=mean.stderr,
        ess=count_effective(w),
        khat=pareto_khat(w.log()),
        draws=torch.cat(futures, 1),
        num_samples=num_samples,
    )


def _hide_future(x: Tensor, lengths: Tensor) -> Tensor:
    """x up to the longest of the lengths, with the first step of each in place of what is hidden.

    So an encoder that looks beyond the lengths does not see the future. The first step is within
    the support.
    """
    x = x[:, : int(lengths.max())]
    is_given = torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(-1)
    wide = is_given.reshape(is_given.shape + (1,) * (x.dim() - 2))

    return torch.where(wide, x, x[:, :1])


def _forecast_block(
    pair: SequenceVAE, data: tuple, steps: int, k: int, draws: int
) -> tuple[Estimate, Tensor, Tensor]:
    """The means, the weights `[k, n]` in float64, and futures, of a block."""
    z, weights = draw_weighted(pair, data, k)
    last = _take_last(z["z"], data[1])

    means, _ = _run_on(pair, last, steps)
    wide = weights.reshape(weights.shape + (1,) * (means.dim() - 2))
    # one future at the least, because not every distribution has an empty batch
    _, futures = _run_on(pair, resample(weights, last, max(draws, 1)), steps)

    return average_weighted(wide, means), weights.double(), futures[:draws]


def _take_last(z: Tensor, lengths: Tensor) -> Tensor:
    """z_t at the end of each sequence, `[k, n, d]`, from `[k, n, T, d]`."""
    place = (lengths - 1).reshape(1, -1, 1, 1).expand(z.shape[0], -1, 1, z.shape[-1])
    return z.gather(2, place).squeeze(2)


def _run_on(pair: SequenceVAE, z: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The means of x given z, and draws of x, of the steps that follow, `[k, n, steps, *event]`."""
    means, drawn = [], []
    for _ in range(steps):
        z = pair.transition(z).sample()
        p = pair.emission(z)
        x = p.sample()
        means.append(find_mean(p, x))
        drawn.append(x)
    return torch.stack(means, 2), torch.stack(drawn, 2)
