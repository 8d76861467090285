"""The data that are measured after each epoch."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_vae.processes import add_up, find_rank, is_first, take_share
from pyro_vae.training.noise import mix_seeds
from pyro_vae.training.randomness import fork, seed_all
from pyro_vae.weights.blocks import weigh_in_blocks


class Measurement(NamedTuple):
    """The plain ELBO of some data and its two terms, means over the data, in nats per datum."""

    elbo: float
    reconstruction: float
    kl: float


class HeldOut:
    """Data for which the ELBO is measured, always with the same draws.

    Of several processes each measures its share.

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
        rows = self.data[0].shape[0]
        share = take_share(rows)
        terms = self._sum_terms(tuple(d[share] for d in self.data))
        reconstruction, kl = (term / rows for term in add_up(*terms))

        return Measurement(reconstruction - kl, reconstruction, kl)

    def _sum_terms(self, data: tuple[Tensor, ...]) -> tuple[float, float]:
        """The two terms, summed over data of which there may be none."""
        if not data[0].shape[0]:
            return 0.0, 0.0
        with fork(data[0].device):
            seed_all(self.seed if is_first() else mix_seeds(self.seed, find_rank()))
            blocks = [weights for _, weights in weigh_in_blocks(self.pair, data, 1)]

        log_likelihood = torch.cat([w.log_likelihood[0] for w in blocks])
        log_ratio = torch.cat([(w.log_variational - w.log_prior)[0] for w in blocks])
        return log_likelihood.double().sum().item(), log_ratio.double().sum().item()
