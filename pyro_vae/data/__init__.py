"""Data sets as tensors in memory, by name or from files of your own."""

from pyro_vae.data.datasets import NAMES as NAMES
from pyro_vae.data.datasets import Dataset as Dataset
from pyro_vae.data.datasets import binarise as binarise
from pyro_vae.data.datasets import load as load
from pyro_vae.data.datasets import root as root
