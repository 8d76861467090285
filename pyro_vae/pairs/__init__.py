"""Pairs of a Pyro `model`, which states p(z) p(x | z), and a `guide`, which states q(z | x)."""
