import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae.training import noise as module
from pyro_vae.training.noise import Noise

SHARE, ROWS = slice(2, 5), 8
CPU = torch.device("cpu")


@pytest.fixture
def second(monkeypatch):
    """The draws of the second of two processes, which has three rows of eight."""
    monkeypatch.setattr(module, "count_processes", lambda: 2)
    monkeypatch.setattr(module, "find_rank", lambda: 1)
    torch.manual_seed(5)
    return Noise(CPU)


def draw(function, like):
    """What one process draws from the same state, and the state afterwards."""
    torch.manual_seed(5)
    return function(like), torch.get_rng_state()


@pytest.mark.parametrize(
    "function",
    [
        torch.randn_like,
        torch.rand_like,
        torch.bernoulli,
        lambda x: torch.empty(x.shape).normal_(1.0, 2.0),
        lambda x: torch.rand(x.shape),
        lambda x: torch.randn(*x.shape),
    ],
)
def test_a_batch_has_its_rows_of_the_common_noise(second, function):
    with second.of_batch(SHARE, ROWS):
        mine = function(torch.full((3, 4), 0.5))
    after = torch.get_rng_state()
    whole, state = draw(function, torch.full((8, 4), 0.5))

    assert torch.equal(mine, whole[SHARE]) and torch.equal(after, state)


@pytest.mark.parametrize("family", [dist.Normal, dist.Uniform, dist.Gumbel, dist.Laplace])
def test_a_latent_has_its_rows_under_a_plate_of_draws(second, family):
    def guide(rows):
        with pyro.plate("draws", 2, dim=-2), pyro.plate("data", rows, dim=-1):
            return pyro.sample("z", family(torch.zeros(4), torch.ones(4)).to_event(1))

    with second.of_batch(SHARE, ROWS):
        pass
    with second.of_step(is_compiled=False):
        mine = guide(3)
    after = torch.get_rng_state()
    whole, state = draw(guide, 8)

    assert torch.equal(mine, whole[:, SHARE]) and torch.equal(after, state)


def test_what_has_no_rows_is_of_each_process_alone(second, monkeypatch):
    own = torch.Generator().manual_seed(1)

    def draws():
        with second.of_batch(SHARE, ROWS):
            given = torch.empty(3, 4).normal_(generator=own)
            return torch.randn(7), torch.distributions.Gamma(torch.ones(3), 1.0).sample(), given

    before = torch.get_rng_state()
    vector, gamma, given = draws()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(given, torch.empty(3, 4).normal_(generator=torch.manual_seed(1)))

    second.batch = 0
    torch.set_rng_state(before)
    assert torch.equal(draws()[0], vector)
    assert not torch.equal(draws()[0], vector)
    second.batch = 0
    monkeypatch.setattr(module, "find_rank", lambda: 0)
    other, others_gamma, _ = draws()
    assert not torch.equal(other, vector) and not torch.equal(others_gamma, gamma)


def test_one_process_draws_as_ever():
    torch.manual_seed(5)
    with Noise(CPU).of_batch(SHARE, ROWS):
        mine = torch.randn(3, 4)
    assert torch.equal(mine, draw(lambda like: torch.randn(like.shape), torch.zeros(3, 4))[0])
