"""Pairs: a Pyro `model`, the generative story p(z) p(x | z), and a `guide`, the variational q(z | x)."""
