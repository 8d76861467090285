"""A pair in a folder, so that it can be used where the code that built it is not."""
