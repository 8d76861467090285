"""`python -m pyro_vae`, which torchrun starts as well."""

from pyro_vae.cli.commands import main

if __name__ == "__main__":
    main()
