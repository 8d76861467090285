"""The few densities that Pyro lacks, as ordinary Pyro distributions."""

from pyro_vae.distributions.bernoulli import Bernoulli, ContinuousBernoulli
from pyro_vae.distributions.flow import FlowDistribution
from pyro_vae.distributions.mixture import Mixture

__all__ = ["Bernoulli", "ContinuousBernoulli", "FlowDistribution", "Mixture"]
