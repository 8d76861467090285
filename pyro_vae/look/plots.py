"""The figures, each once by name. A function returns a matplotlib figure and shows nothing."""

from pyro_vae.look.calibration import ranks as ranks
from pyro_vae.look.history import history as history
from pyro_vae.look.images import classes as classes
from pyro_vae.look.images import data as data
from pyro_vae.look.images import decoded_grid as decoded_grid
from pyro_vae.look.images import reconstructions as reconstructions
from pyro_vae.look.images import rows as rows
from pyro_vae.look.latents import latents as latents
from pyro_vae.look.posteriors import posterior as posterior
from pyro_vae.look.posteriors import posterior_draws as posterior_draws
from pyro_vae.look.sequences import sequences as sequences
from pyro_vae.look.tables import columns as columns
from pyro_vae.look.topics import top_words as top_words
