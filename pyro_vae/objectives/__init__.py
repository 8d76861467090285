"""Bounds on log p(x), their gradients, and objectives that shape the KL term, for any pair."""
