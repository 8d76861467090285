"""The data that are measured after each epoch."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_vae.training.randomness import fork
from pyro_vae.weights.blocks import weigh_in_blocks


class Measurement(NamedTuple):
    """The plain ELBO of some data and its two terms, means over the data, in nats per datum."""

    elbo: float
    reconstruction: float
    kl: float


class HeldOut:
    """Data for which the ELBO is measured, always with the same draws.

    Arguments:
        pair: The pair.
        data: The data, x first, `[n, *event]`.
        seed: The seed of the draws. The random states of the run are left alone.
    """

    def __init__(self, pair: nn.Module, data: tuple[Tensor, ...], seed: int):
        self.pair = pair
        self.data = data
        self.seed = seed

    def measure(self) -> Measurement:
        """The ELBO as it is now, with one draw of z for each datum."""
        with fork(self.data[0].device):
            torch.manual_seed(self.seed)
            blocks = [weights for _, weights in weigh_in_blocks(self.pair, self.data, 1)]

        log_likelihood = torch.cat([w.log_likelihood[0] for w in blocks])
        log_ratio = torch.cat([(w.log_variational - w.log_prior)[0] for w in blocks])
        reconstruction = log_likelihood.double().mean().item()
        kl = log_ratio.double().mean().item()

        return Measurement(reconstruction - kl, reconstruction, kl)
