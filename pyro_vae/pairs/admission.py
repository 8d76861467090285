"""Pairs that look at their data themselves, before they are trained or measured."""

from torch import Tensor, nn

from pyro_vae.recipes import Recorded


class ChecksData(Recorded, nn.Module):
    """A pair that has something to say about its data beyond shapes and supports.

    Attributes:
        takes_missing: Whether NaN in any of its data marks something as missing.
    """

    takes_missing = False

    def check_data(self, *data: Tensor) -> None:
        """Raise a TypeError or ValueError if the data do not fit, with what to do.

        It is called with the rows of one block after the other.
        """
        raise NotImplementedError

    def check_training(self, *data: Tensor) -> None:
        """Raise a ValueError if nothing can be learned of a part of the pair from these data.

        `fit` calls it with all training data, after `check_data`, where they are in memory. What is
        wrong with a single row is for `check_data`.
        """

    def list_given(self, *data: Tensor) -> dict[str, Tensor]:
        """The values of observed sites that are given, as labels are, while x is drawn anew."""
        return {}

    def describe_evidence(self, *data: Tensor) -> str | None:
        """A sentence on what the evidence is of, where it is not x alone in every row, or None."""
        return None
