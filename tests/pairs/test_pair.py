import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch import nn

import pyro_vae as pv


def handwritten(bare: bool = False):
    """A model and guide as people write them, of numbers, with modules of their own."""
    decoder, encoder = nn.Linear(1, 1), nn.Linear(1, 1)

    def model(x):
        pyro.module("decoder", decoder)
        scale = (
            pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
            if bare
            else 1.0
        )
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), scale).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(encoder(x), 0.7).to_event(1))

    return model, guide


def copies(module):
    return [p.detach().clone() for p in module.parameters()]


def train(pair, x, steps=20):
    svi = SVI(pair.model, pair.guide, Adam({"lr": 0.01}), Trace_ELBO())
    for _ in range(steps):
        svi.step(x)


def moved(before, module):
    return [not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True)]


def test_the_modules_of_functions_are_found():
    pair = pv.Pair(*handwritten())
    assert set(pair.parts) == {"decoder", "encoder"}
    assert len(list(pair.parameters())) == 4


def test_modules_that_are_or_own_the_functions_are_found():
    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(1, 1)

        def model(self, x):
            pass

        guide = model

    owner = Written()
    pair = pv.Pair(owner.model, owner.guide)
    assert list(pair.parameters()) == list(owner.parameters())


def test_it_trains_under_stock_svi_and_under_fit():
    x = 3 + torch.randn(100, 1)
    for go in (train, lambda pair, x: pv.fit(pair, x, epochs=3)):
        pair = pv.Pair(*handwritten())
        before = copies(pair)
        go(pair, x)
        assert all(moved(before, pair))
        pyro.clear_param_store()


def test_a_bare_parameter_is_adopted_with_a_warning_and_trained():
    pair = pv.Pair(*handwritten(bare=True))
    x = torch.randn(100, 1)
    with pytest.warns(UserWarning, match="adopts pyro.param\\('scale'\\)"):
        pv.fit(pair, x, epochs=3, seed=0)
    assert list(pyro.get_param_store().keys()) == []
    raw = dict(pair.named_parameters())["adopted_scale"]
    assert not torch.isclose(raw.exp(), torch.tensor(2.0))


def test_adoption_starts_from_what_was_trained_by_hand():
    model, guide = handwritten(bare=True)
    svi = SVI(model, guide, Adam({"lr": 0.05}), Trace_ELBO())
    x = torch.randn(100, 1)
    for _ in range(20):
        svi.step(x)
    trained = pyro.param("scale").item()
    pair = pv.Pair(model, guide)
    with pytest.warns(UserWarning, match="adopts"):
        pv.diagnostics.elbo(pair, x, num_samples=2)
    assert pair.adopted_scale.exp().item() == pytest.approx(trained)


@pytest.mark.parametrize("clear", [True, False])
@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.filterwarnings("ignore:.*adopts")
def test_two_pairs_never_share_parameters(clear, bare):
    x = torch.randn(50, 1)
    first, second = pv.Pair(*handwritten(bare)), pv.Pair(*handwritten(bare), name="second")
    train(first, x)
    if clear:
        pyro.clear_param_store()
    kept = copies(first)
    train(second, x, 2)
    before = copies(second)
    train(second, x)
    assert all(moved(before, second)) and not any(moved(kept, first))


def test_another_pair_of_the_same_name_is_refused_until_the_store_is_cleared():
    x = torch.randn(10, 1)
    first, second = pv.Pair(*handwritten()), pv.Pair(*handwritten())
    train(first, x, 1)
    with pytest.raises(ValueError, match=r"name='pair_2'.*clear_param_store"):
        train(second, x, 1)
    pyro.clear_param_store()
    before = copies(second)
    train(second, x)
    assert all(moved(before, second))


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="guide: expected a function"):
        pv.Pair(lambda x: None, 3)
