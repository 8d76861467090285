"""Pairs: a Pyro `model`, the generative story p(z) p(x | z), and a `guide`, the variational q(z | x)."""

from pyro_vae.pairs.pair import Pair
from pyro_vae.pairs.vae import VAE

__all__ = ["VAE", "Pair"]
