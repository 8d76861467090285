"""The command line: `pyro-vae`, or `python -m pyro_vae`."""

from pyro_vae.cli.commands import app as app
from pyro_vae.cli.commands import main as main
