"""Networks: tensor to tensor, no probability."""

from pyro_vae.networks.network import Builder as Builder
from pyro_vae.networks.network import Network as Network
from pyro_vae.networks.network import build as build
from pyro_vae.networks.network import conv as conv
from pyro_vae.networks.network import leading_shape as leading_shape
from pyro_vae.networks.network import mlp as mlp
