from itertools import product

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceMeanField_ELBO
from pyro.optim import Adam

import pyro_vae as pv
from pyro_vae.networks import mlp


def small(net=mlp, **kwargs):
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli((1, 4, 4), given=2, net=net),
        variational=pv.Normal(2, given=(1, 4, 4), net=net),
        **kwargs,
    )


def images(n=64):
    """Binary 4×4 images of one of two kinds, so that there is something to learn."""
    kinds = torch.tensor([[0.95, 0.05], [0.05, 0.95]]).repeat_interleave(8, 1).reshape(2, 1, 4, 4)
    return torch.bernoulli(kinds[torch.randint(2, (n,))])


@pytest.mark.parametrize(
    "elbo",
    [Trace_ELBO(), Trace_ELBO(num_particles=3, vectorize_particles=True), TraceMeanField_ELBO()],
)
@pytest.mark.parametrize("net", [mlp, pv.networks.conv])
def test_it_runs_and_learns_under_stock_svi(elbo, net):
    x, vae = images(), small(net)
    svi = SVI(vae.model, vae.guide, Adam({"lr": 0.01}), elbo)
    losses = [svi.step(x) for _ in range(60)]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    names = {f"vae$$${name}" for name, _ in vae.named_parameters()}
    assert set(pyro.get_param_store().keys()) == names


def test_predictive_and_poutine_see_ordinary_sites():
    x, vae = images(5), small()
    seen = Predictive(vae.model, guide=vae.guide, num_samples=7)(x)
    assert seen["z"].shape == (7, 5, 2)
    seen = Predictive(poutine.uncondition(vae.model), num_samples=7)(x)
    assert seen["x"].shape == (7, 5, 1, 4, 4)
    trace = poutine.trace(poutine.condition(vae.model, {"z": torch.zeros(5, 2)})).get_trace(x)
    assert trace.nodes["z"]["is_observed"]
    assert trace.log_prob_sum().isfinite()


@pytest.mark.parametrize("clear", [True, False])
def test_two_pairs_never_share_parameters(clear):
    x, first, second = images(), small(), small(name="second")
    for vae in (first, second):
        kept = [[p.detach().clone() for p in v.parameters()] for v in (first, second)]
        svi = SVI(vae.model, vae.guide, Adam({"lr": 0.01}), Trace_ELBO())
        for _ in range(3):
            svi.step(x)
        for v, before in zip((first, second), kept, strict=True):
            changed = [not torch.equal(a, b) for a, b in zip(before, v.parameters(), strict=True)]
            assert all(changed) if v is vae else not any(changed)
        if clear:
            pyro.clear_param_store()


def test_a_second_pair_of_the_same_name_is_refused():
    x, first, second = images(), small(), small()
    first.model(x)
    with pytest.raises(ValueError, match=r"name='vae_2'.*clear_param_store"):
        second.guide(x)
    assert not any(
        value is p for value in pyro.get_param_store().values() for p in second.parameters()
    )


@pytest.mark.parametrize("cyclic", [False, True])
def test_a_cell_that_is_run_twice_trains_the_new_pair(cyclic):
    x = images()
    for _ in range(2):
        vae = small()
        if cyclic:
            vae.itself = [vae]  # waits for the garbage collector
        before = [p.detach().clone() for p in vae.parameters()]
        svi = SVI(vae.model, vae.guide, Adam({"lr": 0.01}), Trace_ELBO())
        svi.step(x)
        assert not any(torch.equal(a, b) for a, b in zip(before, vae.parameters(), strict=True))


def test_a_smaller_pair_leaves_nothing_of_the_one_before():
    x = images()
    vae = small(pv.networks.conv)
    vae.model(x)
    vae = small()
    vae.model(x), vae.guide(x)
    names = {f"vae$$${name}" for name, _ in vae.named_parameters()}
    assert set(pyro.get_param_store().keys()) == names


@pytest.mark.parametrize(
    "parts, said",
    [
        ({"prior": pv.StandardNormal(3)}, r"shape of z: prior \(3,\), likelihood \(given\) \(2,\)"),
        ({"variational": pv.Normal(5, given=4)}, r"shape of z.*variational \(5,\)"),
        ({"likelihood": pv.Bernoulli(4, given=3)}, r"shape of z"),
        (
            {"likelihood": pv.Bernoulli(5, given=2)},
            r"shape of x: likelihood \(5,\), variational \(given\) \(4,\)",
        ),
        (
            {"prior": pv.Normal(2, given=3), "likelihood": pv.Bernoulli(4, given=[2, 5])},
            r"(prior|likelihood): it is given .* beyond its own variable, and the covariates are",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, said):
    fitting = {
        "prior": pv.StandardNormal(2),
        "likelihood": pv.Bernoulli(4, given=2),
        "variational": pv.Normal(2, given=4),
    }
    pv.VAE(**fitting)
    with pytest.raises(ValueError, match=said):
        pv.VAE(**fitting | parts)


@pytest.mark.parametrize(
    "prior, variational, said",
    [
        (pv.Bernoulli(3), pv.Normal(3, given=4), "over 0 or 1, .* over real"),
        (pv.Gamma(3), pv.Normal(3, given=4), "over above 0, .* over real"),
        (pv.UniformSphere(3), pv.Normal(3, given=4), "over sphere, .* over real"),
        (pv.StandardNormal(3), pv.PowerSpherical(3, given=4), "over real, .* over sphere"),
        (pv.Dirichlet(3), pv.Beta(3, given=4), "over simplex, .* over in .0, 1."),
        (
            pv.OneHotCategorical(3),
            pv.RelaxedCategorical(3, given=4, temperature=1.0),
            "over onehot, .* over simplex",
        ),
        (
            pv.Categorical(3, classes=4),
            pv.Categorical(3, given=4, classes=5),
            "integer from 0 to 3, .* 0 to 4",
        ),
        (pv.Mixture(pv.Gamma, 3, components=2), pv.Flow(3, given=4), "over above 0, .* over real"),
        (pv.Vamp(pv.Gamma(3, given=4), 5), pv.Normal(3, given=4), "over above 0, .* over real"),
        (pv.Multinomial(3), pv.Poisson(3, given=4), "over a count out of a total, .* over a count"),
        (pv.Autoregressive(pv.Bernoulli, 3), pv.Normal(3, given=4), "over 0 or 1, .* over real"),
    ],
    ids=repr,
)
def test_supports_that_differ_are_refused(prior, variational, said):
    with pytest.raises(ValueError, match=f"the supports of z differ: prior .*{said}") as error:
        pv.VAE(prior=prior, likelihood=pv.Bernoulli(4, given=3), variational=variational)
    assert repr(prior) in str(error.value) and repr(variational) in str(error.value)


@pytest.mark.parametrize(
    "prior, variational",
    [
        (pv.StandardNormal((2, 3)), pv.MultivariateNormal((2, 3), given=4)),
        (pv.Gamma(3), pv.family(dist.LogNormal, "loc", "scale")(3, given=4)),
        (pv.Dirichlet(3), pv.LogisticNormal(3, given=4)),
        (pv.Beta(3), pv.RelaxedBernoulli(3, given=4, temperature=0.5)),
        (pv.UniformSphere((2, 3)), pv.VonMisesFisher((2, 3), given=4)),
        (pv.Flow(3), pv.Mixture(pv.StudentT, 3, given=4, components=2)),
        (pv.Autoregressive(pv.Bernoulli, 3), pv.Bernoulli(3, given=4)),
    ],
    ids=repr,
)
def test_the_same_support_of_another_family_is_accepted(prior, variational):
    pair = pv.VAE(
        prior=prior, likelihood=pv.Bernoulli(4, given=prior.event_shape), variational=variational
    )
    assert pv.diagnostics.log_weights(pair, torch.ones(5, 4), num_samples=3).isfinite().all()


PRIORS = {
    "standard normal": lambda q, x: pv.StandardNormal(2),
    "laplace": lambda q, x: pv.Laplace(2),
    "mixture": lambda q, x: pv.Mixture(pv.Normal, 2, components=3),
    "vamp": lambda q, x: pv.Vamp.from_data(q, x, components=5, learned_weights=True),
    "flow": lambda q, x: pv.Flow(2, transforms=2, hidden_features=(16,)),
}
LIKELIHOODS = {
    "bernoulli": lambda **kw: pv.Bernoulli((1, 4, 4), **kw),
    "continuous bernoulli": lambda **kw: pv.ContinuousBernoulli((1, 4, 4), **kw),
    "normal": lambda **kw: pv.Normal((1, 4, 4), scale=0.5, **kw),
    "poisson": lambda **kw: pv.Poisson((1, 4, 4), **kw),
}
VARIATIONALS = {
    "normal": lambda **kw: pv.Normal(2, **kw),
    "laplace": lambda **kw: pv.Laplace(2, **kw),
    "flow": lambda **kw: pv.Flow(2, transforms=2, hidden_features=(16,), context=8, **kw),
    "mixture": lambda **kw: pv.Mixture(pv.Normal, 2, components=2, **kw),
}


@pytest.mark.parametrize(
    "prior, likelihood, variational", list(product(PRIORS, LIKELIHOODS, VARIATIONALS))
)
def test_every_combination_trains(prior, likelihood, variational):
    x = images(128)
    q = VARIATIONALS[variational](given=(1, 4, 4))
    vae = pv.VAE(
        prior=PRIORS[prior](q, x), likelihood=LIKELIHOODS[likelihood](given=2), variational=q
    )
    before = pv.diagnostics.elbo(vae, x, num_samples=20, progress=False).value.mean()
    history = pv.fit(vae, x, epochs=6, batch_size=32, learning_rate=5e-3, seed=0, progress=False)
    after = pv.diagnostics.elbo(vae, x, num_samples=20, progress=False).value
    assert torch.tensor(history.loss).isfinite().all() and after.isfinite().all()
    assert after.mean() > before
