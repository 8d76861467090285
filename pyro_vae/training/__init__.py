"""Training a pair."""
