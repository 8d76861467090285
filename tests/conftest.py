import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "2")

import pyro
import pytest
import torch

import pyro_vae as pv


@pytest.fixture(autouse=True, scope="session")
def heard():
    """Signals are heard as in a terminal. Whoever starts the suite in the background ignores them.

    What is ignored is ignored by the processes that tests start as well.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def fresh():
    """Each test starts from one seed, an empty parameter store, and torch's validation."""
    torch.distributions.Distribution.set_default_validate_args(True)
    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    pyro.clear_param_store()


@pytest.fixture(scope="session")
def digits():
    return pv.data.load("digits")


@pytest.fixture(scope="session")
def trained(digits):
    """A VAE with a two-dimensional latent, trained on the digits, and 200 binarised test data."""
    torch.manual_seed(0)
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli((1, 8, 8), given=2),
        variational=pv.Normal(2, given=(1, 8, 8)),
    )
    pv.fit(vae, digits.train, epochs=60, transform=torch.bernoulli, seed=0)
    return vae, pv.data.binarise(digits.test[:200])


@pytest.fixture
def eager(monkeypatch):
    """`fit` without compiling, which takes longer than all the rest of a script's short form."""
    fit = pv.fit
    monkeypatch.setattr(
        pv, "fit", lambda *args, **options: fit(*args, **options | {"compile": False})
    )
