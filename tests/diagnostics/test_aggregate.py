import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics import aggregate, latents
from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.weights import blocks
from pyro_vae.weights.weights import weigh
from tests.oracles import normal_pair, sequential_pair


def score(pair, x, num_samples=5, **options):
    """All that `score_in_blocks` yields."""
    return list(aggregate.score_in_blocks(pair, (x,), num_samples, progress=False, **options))


def floats(found):
    """The estimates of a result as numbers."""
    fields = [field for field in vars(found).values() if isinstance(field, Estimate)]
    return [torch.as_tensor(part) for field in fields for part in (field.value, field.stderr)]


def test_the_aggregate_is_the_mean_of_own_and_others():
    (drawn,) = score(normal_pair(torch.eye(2), 0.5), torch.randn(8, 2).double())
    q = (drawn.own.exp() + 7 * drawn.others.exp()) / 8
    assert torch.allclose(drawn.aggregate.exp(), q)
    assert drawn.each.shape == drawn.prior.shape == drawn.mean.shape == (5, 8, 2)
    assert drawn.log_likelihood is None


def test_for_data_that_are_equal_own_others_and_aggregate_are():
    x = torch.ones(6, 2).double()
    (drawn,) = score(normal_pair(torch.eye(2), 0.5), x)
    assert torch.allclose(drawn.own, drawn.aggregate)
    assert torch.allclose(drawn.own, drawn.others)
    assert torch.allclose(drawn.each.sum(-1), drawn.own)


class Stiff(dist.MultivariateNormal):
    """A density that takes values of its own batch alone, as a raw flow of zuko does."""

    def log_prob(self, value):
        assert value.shape[-2] == self.batch_shape[-1]
        return super().log_prob(value)


def test_a_density_that_does_not_broadcast_is_scored_as_one_that_does():
    def make(family):
        def model(x):
            with pyro.plate("data", x.shape[0]):
                z = pyro.sample("z", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        def guide(x):
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", family(x / 2, torch.eye(2) / 2))

        return pv.Pair(model, guide)

    x, found = torch.randn(8, 2), []
    for family in (dist.MultivariateNormal, Stiff):
        torch.manual_seed(0)
        (drawn,) = score(make(family), x)
        found.append(drawn.aggregate)
    torch.testing.assert_close(*found)


def test_of_several_latents_dimensions_are_not_scored_apart():
    (drawn,) = score(sequential_pair(), torch.randn(8))
    assert drawn.each is None and drawn.prior.shape == (5, 8, 2)
    assert drawn.mean.shape == (5, 8, 2) and drawn.own.dtype == torch.float64
    assert drawn.sizes == {"a": 1, "b": 1}
    assert torch.equal(drawn.levels.own[..., -1], drawn.own)
    assert torch.equal(drawn.levels.aggregate[..., -1], drawn.aggregate)


def test_the_likelihood_is_decoded_in_pieces(monkeypatch):
    pair = normal_pair(torch.eye(2), 0.5)
    x = torch.randn(6, 2).double()
    torch.manual_seed(1)
    (whole,) = score(pair, x, decode=True)
    sizes = []
    monkeypatch.setattr(aggregate, "weigh", lambda *a: sizes.append(a[2]) or weigh(*a))
    monkeypatch.setattr(blocks, "KEPT", 60)
    torch.manual_seed(1)
    found = score(pair, x, decode=True)
    assert [drawn.log_likelihood.shape for drawn in found] == [(5, 6)] and sum(sizes) == 5
    assert torch.equal(found[0].log_likelihood, whole.log_likelihood)


def test_chunks_give_what_one_piece_gives(monkeypatch):
    pair = normal_pair(torch.tensor([[1.0, 0.5], [1.0, -0.2]]), 0.4)
    x = torch.randn(30, 2)
    torch.manual_seed(1)
    whole = latents(pair, x, num_samples=7)
    sizes = []
    score_against = aggregate._score_against
    monkeypatch.setattr(
        aggregate,
        "_score_against",
        lambda c, z, o: sizes.append((len(c), len(o))) or score_against(c, z, o),
    )
    monkeypatch.setattr(aggregate, "TABLE", 50)
    torch.manual_seed(1)
    found = latents(pair, x, num_samples=7)
    for a, b in zip(floats(found), floats(whole), strict=True):
        assert torch.allclose(a, b, atol=1e-9)
    assert found.ceiling == whole.ceiling and torch.equal(found.active, whole.active)
    assert torch.allclose(found.activity, whole.activity, atol=1e-9)
    assert (
        max(points for _, points in sizes) * 25 * 2 <= 50
        and min(columns for columns, _ in sizes) == 2
    )

    monkeypatch.setattr(blocks, "KEPT", 40)
    found = latents(pair, x, num_samples=7)
    for name in ("kl", "information", "information_loo", "marginal"):
        a, b = getattr(found, name), getattr(whole, name)
        assert abs(a.value - b.value) < 5 * math.hypot(a.stderr, b.stderr)


def test_the_encoder_runs_once_over_the_data_and_not_once_for_each_pair():
    seen = []

    class Counted(torch.nn.Linear):
        def forward(self, x):
            seen.append(x.shape[:-1].numel())
            return super().forward(x)

    pair = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(2, given=2),
        variational=pv.Normal(2, given=2, net=Counted(2, 4)),
    )
    latents(pair, torch.randn(500, 2), num_samples=10)
    assert sum(seen) < 3 * 500


def test_a_masked_latent_is_refused():
    def guide(x):
        with pyro.plate("data", x.shape[0]), pyro.poutine.mask(mask=x > 0):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def model(x):
        with pyro.plate("data", x.shape[0]):
            with pyro.poutine.mask(mask=x > 0):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ValueError, match="latent 'z' is masked in some rows"):
        aggregate.admit_unmasked(pv.Pair(model, guide), (torch.randn(5),))


def test_a_prior_that_depends_on_the_data_is_refused():
    log_prior = torch.randn(3, 1).expand(3, 4)
    aggregate.refuse_different(log_prior)
    with pytest.raises(ValueError, match=r"p\(z\) depends on the data"):
        aggregate.refuse_different(log_prior + torch.arange(4))
