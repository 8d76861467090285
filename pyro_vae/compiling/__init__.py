"""A loss exported once and compiled."""
