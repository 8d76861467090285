"""Data sets as tensors in memory, by name or from files of your own."""

from pyro_vae.data.bags import iterate_dense as iterate_dense
from pyro_vae.data.bags import to_dense as to_dense
from pyro_vae.data.dataset import Dataset as Dataset
from pyro_vae.data.dataset import binarise as binarise
from pyro_vae.data.load import load as load
from pyro_vae.data.named import NAMES as NAMES
from pyro_vae.data.named import root as root
from pyro_vae.data.table import Table as Table
from pyro_vae.data.table import table as table
from pyro_vae.data.upright import make_upright as make_upright
