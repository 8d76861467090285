"""`python -m pyro_vae.cli`."""

from pyro_vae.cli.commands import main

main()
