"""What is written down of each epoch."""

import pytest

from pyro_vae.training.history import History, Record

EPOCH = {"loss": 3.0, "elbo": -2.5, "reconstruction": -2.0, "kl": 0.5, "seconds": 0.1, "bound": 1}


def test_an_epoch_is_written_down():
    record = Record()
    assert repr(record.history) == "History(no epoch)"

    record.add(**EPOCH)
    record.add(**(EPOCH | {"bound": 0}))
    assert record.epochs == 2
    assert record.history == History(*([value] * 2 for value in list(EPOCH.values())[:5]), [1, 0])
    assert repr(record.history) == "History(2 epochs, loss 3.000 (no bound), elbo -2.500)"


def test_an_epoch_is_written_down_whole():
    with pytest.raises(KeyError, match="kl"):
        Record().add(**{name: value for name, value in EPOCH.items() if name != "kl"})


def test_a_record_comes_back():
    record, other = Record(), Record()
    record.add(**EPOCH)
    other.unpack(record.pack(), "a file")
    assert other.history == record.history
