"""How a pair is run, and its importance weights."""
