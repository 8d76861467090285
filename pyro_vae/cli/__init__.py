"""The command line."""

from pyro_vae.cli.commands import app as app
from pyro_vae.cli.commands import main as main
