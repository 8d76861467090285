"""Networks: tensor to tensor, no probability."""

from pyro_vae.networks.conv import conv as conv
from pyro_vae.networks.logged import logged as logged
from pyro_vae.networks.masked import masked as masked
from pyro_vae.networks.mlp import mlp as mlp
from pyro_vae.networks.network import Builder as Builder
from pyro_vae.networks.network import Network as Network
from pyro_vae.networks.network import Shape as Shape
from pyro_vae.networks.network import build as build
from pyro_vae.networks.network import leading_shape as leading_shape
from pyro_vae.networks.recurrent import Backward as Backward
from pyro_vae.networks.recurrent import gated as gated
from pyro_vae.networks.spread import spread as spread
from pyro_vae.networks.standardised import Standardise as Standardise
from pyro_vae.networks.standardised import standardised as standardised
from pyro_vae.networks.topics import Topics as Topics
from pyro_vae.networks.topics import topics as topics
