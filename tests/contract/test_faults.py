"""Faults that pairs met before: each was silent, or a raw error, and must stay mended."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn
from torch.distributions import constraints
from torch.utils.data import DataLoader, TensorDataset

import pyro_vae as pv
from pyro_vae.conditionals.layout import take_apart
from pyro_vae.diagnostics import (
    annealed_log_evidence,
    bracket,
    calibrate,
    grid_posterior,
    joint_kl,
    latents,
    log_evidence,
    log_weights,
    picture,
)
from pyro_vae.pairs.admission import ChecksData

D, F = 2, 3  # numbers of z, and of x


def normal(loc, scale=1.0):
    return dist.Normal(loc, scale).to_event(1)


class Written(nn.Module):
    """A pair written by hand: z ~ N(0, I), x ~ N(dec(z), I)."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(F, 2 * D)
        self.decoder = nn.Linear(D, F)

    def prior(self, x):
        return normal(torch.zeros(D))

    def variational(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return normal(loc, (0.3 * log_scale).exp())

    def observe(self, z, x):
        pyro.sample("x", normal(self.decoder(z)), obs=x)

    def model(self, x):
        pyro.module("written", self)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self.prior(x))
            self.observe(z, x)

    def guide(self, x):
        pyro.module("written", self)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.variational(x))


def make_data(rows=20, width=F):
    return torch.randn(rows, width)


# 1: a smaller last batch, compiled


def test_numbers_are_taken_apart_as_split_does():
    numbers = torch.randn(4, 5, 7)
    pieces = take_apart(numbers, [3, 0, 4])
    for piece, expected in zip(pieces, numbers.split([3, 0, 4], -1), strict=True):
        assert torch.equal(piece, expected)


def test_a_smaller_last_batch_of_several_draws_is_compiled():
    vae = pv.VAE(
        prior=pv.StandardNormal(4),
        likelihood=pv.Normal(8, given=4),
        variational=pv.Normal(4, given=8),
    )
    objective = pv.Objective(vae, pv.ImportanceWeighted(5))
    history = pv.fit(
        vae,
        make_data(145, 8),
        epochs=1,
        batch_size=128,
        objective=objective,
        compile=True,
        seed=0,
        progress=False,
    )
    assert torch.tensor(history.loss).isfinite().all()


# 2: sites that the guide observes


class Observing(Written):
    """The guide observes a site of the data, as that of contrib.cevae does."""

    def guide(self, x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("seen", normal(torch.zeros(F), 0.3), obs=x)
            pyro.sample("z", self.variational(x))


@pytest.mark.parametrize(
    "measure",
    [
        lambda pair, x: latents(pair, x).kl.value,
        lambda pair, x: joint_kl(pair, x).total.value,
        lambda pair, x: calibrate(pair, x, num_draws=9).ranks,
        lambda pair, x: grid_posterior(pair, x[:3], size=20).gap,
        lambda pair, x: annealed_log_evidence(pair, x[:3], num_steps=3, num_chains=2).value,
        lambda pair, x: pv.Objective(pair, pv.ImportanceWeighted(3))(x),
    ],
    ids=["latents", "joint", "calibrate", "grid", "annealing", "bound"],
)
def test_what_the_guide_observes_does_not_count(measure):
    ours, theirs = Observing(), Written()
    ours.load_state_dict(theirs.state_dict())
    x = make_data()
    found = []
    for pair in (ours, theirs):
        torch.manual_seed(1)
        found.append(torch.as_tensor(measure(pair, x)))
    assert torch.equal(*found)


# 3: a picture without the part that cannot be measured


def conditional_model(x, c):
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(c, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def conditional_guide(x, c):
    with pyro.plate("data", x.shape[0]):
        pyro.sample("z", dist.Normal((x + c) / 2, 0.8))


def test_a_picture_says_why_the_kl_term_is_not_taken_apart():
    pair = pv.Pair(conditional_model, conditional_guide)
    seen = picture(pair, torch.randn(20), torch.randn(20), num_samples=50, progress=False)
    assert seen.latents is None
    assert "p(z) depends on the data" in seen.left_out
    assert f"The KL term is not taken apart: {seen.left_out}." in str(seen)


def masked_model(x, is_there):
    with pyro.plate("data", x.shape[0]):
        with poutine.mask(mask=is_there):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
        pyro.sample("x", dist.Normal(torch.where(is_there, z, 0.0), 1.0), obs=x)


def masked_guide(x, is_there):
    with pyro.plate("data", x.shape[0]), poutine.mask(mask=is_there):
        pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))


def test_a_picture_of_latents_that_are_not_there_in_every_row():
    x, is_there = torch.randn(20), torch.arange(20) % 2 == 0
    pair = pv.Pair(masked_model, masked_guide)
    seen = picture(pair, x, is_there, num_samples=50, progress=False)
    assert "'z' is masked in some rows" in seen.left_out
    truth = dist.Normal(0.0, torch.where(is_there, 2**0.5, 1.0)).log_prob(x)
    assert torch.allclose(seen.evidence.value.float(), truth, atol=1e-4)


# 4: masks inside a distribution


class MaskedInside(Written):
    def prior(self, x):
        return super().prior(x).mask(x[:, 0] > 0)

    def variational(self, x):
        return super().variational(x).mask(x[:, 0] > 0)


@pytest.mark.parametrize(
    "measure",
    [
        lambda pair, x: annealed_log_evidence(pair, x, num_steps=2, num_chains=2),
        lambda pair, x: bracket(pair, x, num_steps=2, num_chains=2),
        lambda pair, x: grid_posterior(pair, x, size=10),
    ],
    ids=["annealing", "bracket", "grid"],
)
def test_a_mask_inside_a_distribution_is_refused(measure):
    with pytest.raises(ValueError, match=r"'z' has a mask inside.*write|pyro\.poutine\.mask"):
        measure(MaskedInside(), make_data(4))


def test_a_mask_around_the_site_is_annealed():
    x, is_there = torch.randn(4), torch.arange(4) % 2 == 0
    pair = pv.Pair(masked_model, masked_guide)
    found = annealed_log_evidence(pair, x, is_there, num_steps=5, num_chains=4, progress=False)
    truth = dist.Normal(0.0, torch.where(is_there, 2**0.5, 1.0)).log_prob(x)
    assert torch.allclose(found.value.float(), truth, atol=1e-4)


# 5: a bare parameter of a module that is itself the pair


class Bare(Written):
    def prior(self, x):
        return normal(pyro.param("start", torch.zeros(D)))


@pytest.mark.parametrize("loads", [False, True], ids=["tensor", "loader"])
def test_a_bare_parameter_of_a_module_is_refused_before_the_first_step(loads):
    pair, x = Bare(), make_data()
    before = {name: p.clone() for name, p in pair.named_parameters()}
    data = DataLoader(TensorDataset(x), batch_size=5) if loads else x
    with pytest.raises(ValueError, match=r"pyro\.param\('start'\) belongs to no module.*pv\.Pair"):
        pv.fit(pair, data, epochs=1, progress=False)
    assert all(torch.equal(p, before[name]) for name, p in pair.named_parameters())


@pytest.mark.filterwarnings("ignore:.*adopts pyro.param")
def test_a_pair_of_its_methods_trains_it():
    module = Bare()
    pair = pv.Pair(module.model, module.guide)
    pv.fit(pair, make_data() + 2, epochs=2, progress=False, learning_rate=0.1)
    assert pair.adopted_start.abs().min() > 0


# 6: supports that are not known, or depend on the batch


class WithoutSupport(dist.TorchDistribution):
    """A distribution of another library, whose class says no support."""

    arg_constraints = {}  # noqa: RUF012
    has_rsample = True

    def __init__(self, inner):
        self.inner = inner
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)

    def rsample(self, sample_shape=()):
        return self.inner.rsample(torch.Size(sample_shape))

    def log_prob(self, value):
        return self.inner.log_prob(value)

    def expand(self, batch_shape, _instance=None):
        return WithoutSupport(self.inner.expand(batch_shape))


class Wrapped(Written):
    """A pair with distributions without a support, in the parts named."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = parts

    def _wrap(self, part, p):
        return WithoutSupport(p) if part in self.parts else p

    def prior(self, x):
        return self._wrap("prior", super().prior(x))

    def variational(self, x):
        return self._wrap("variational", super().variational(x))

    def observe(self, z, x):
        pyro.sample("x", self._wrap("x", normal(self.decoder(z))), obs=x)


@pytest.mark.parametrize("parts", [["prior"], ["prior", "variational"], ["x"]], ids=" and ".join)
def test_a_distribution_without_a_support_goes_through(parts, capsys):
    pair, x = Wrapped(*parts), make_data()
    assert pv.check(pair, x).problems == []
    assert "unknown" in capsys.readouterr().out
    pv.fit(pair, x, epochs=1, progress=False)
    assert log_weights(pair, x, num_samples=3).isfinite().all()
    assert pv.Objective(pair, pv.ImportanceWeighted(3))(x).isfinite()
    assert calibrate(pair, x, num_draws=9).ranks.shape == (20, D)


def test_annealing_takes_the_support_of_the_guide():
    ours, theirs, x = Wrapped("prior"), Written(), make_data(3)
    ours.load_state_dict(theirs.state_dict())
    found = []
    for pair in (ours, theirs):
        torch.manual_seed(1)
        found.append(annealed_log_evidence(pair, x, num_steps=3, num_chains=2).value)
    assert torch.equal(*found)


def test_annealing_says_whose_support_is_missing():
    pair = Wrapped("prior", "variational")
    with pytest.raises(
        ValueError, match=r"'z': neither WithoutSupport in the model nor .*`support`"
    ):
        annealed_log_evidence(pair, make_data(3), num_steps=2, num_chains=2)


class Counts(Written):
    """Multinomial counts of the largest total of the rows at hand, as in Pyro's prodlda."""

    def observe(self, z, x):
        total = int(x.sum(-1).max())
        p = dist.Multinomial(total, logits=self.decoder(z), validate_args=False)
        pyro.sample("x", p, obs=x)


def test_a_support_that_depends_on_the_batch_is_compared_with_its_own_rows():
    x = torch.randint(0, 5, (30, F)).float()
    x[:2] = 1.0
    pair = Counts()
    assert pv.check(pair, x).problems == []
    assert log_weights(pair, x, num_samples=3).isfinite().all()
    x[7, 0] = -1.0
    with pytest.raises(ValueError, match="x lies outside the support of Multinomial"):
        pv.check(pair, x)


# 7: what is simulated is given back in the shape of its argument


class Viewed(Written):
    """x as `[n, 3, 1]`, which is observed as `[n, 3]`."""

    def variational(self, x):
        return super().variational(x.reshape(-1, F))

    def observe(self, z, x):
        super().observe(z, x.reshape(-1, F))


class InParts(Written):
    """x in two sites, and something deterministic."""

    def observe(self, z, x):
        loc = pyro.deterministic("loc", self.decoder(z))
        pyro.sample("rest", normal(loc[..., 1:]), obs=x[:, 1:])
        pyro.sample("first", dist.Normal(loc[..., 0], 1.0), obs=x[:, 0])


def several_model(x, y):
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(torch.zeros(x.shape[0]), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def several_guide(x, y):
    with pyro.plate("data", x.shape[0]):
        pyro.sample("z", dist.Normal((x + y) / 3, 3**-0.5))


def partly_model(x, y, known):
    with pyro.plate("data", x.shape[0]):
        y = pyro.sample("y", dist.Normal(torch.zeros_like(x), 1.0), obs=y, obs_mask=known)
        pyro.sample("x", dist.Normal(y, 1.0), obs=x)


def partly_guide(x, y, known):
    with pyro.plate("data", x.shape[0]), poutine.mask(mask=~known):
        pyro.sample("y_unobserved", dist.Normal(x / 2, 0.5**0.5))


KNOWN = torch.arange(400) % 4 == 0
SIMULATED = {
    "a view": (Viewed, (torch.zeros(400, F, 1),)),
    "parts": (InParts, (torch.zeros(400, F),)),
    "arguments": (
        lambda: pv.Pair(several_model, several_guide),
        (torch.zeros(400), torch.zeros(400)),
    ),
    "partly observed": (
        lambda: pv.Pair(partly_model, partly_guide),
        (torch.zeros(400), torch.zeros(400), KNOWN),
    ),
}
EXACT = ["arguments", "partly observed"]  # pairs whose guide is the posterior


@pytest.mark.parametrize(("make", "data"), SIMULATED.values(), ids=SIMULATED)
def test_what_is_observed_is_simulated_for_calibration_and_bracket(make, data):
    pair = make()
    few = tuple(d[:10] for d in data)
    assert len(calibrate(pair, *few, num_draws=9).ranks) == 10
    found = bracket(pair, *few, num_steps=2, num_chains=2)
    assert found.x.shape == few[0].shape
    assert found.distance.value.isfinite().all()


@pytest.mark.parametrize("name", EXACT)
def test_the_posterior_is_calibrated_and_its_bracket_closed(name):
    make, data = SIMULATED[name]
    pair = make()
    assert calibrate(pair, *data).passed
    found = bracket(pair, *(d[:10] for d in data), num_steps=2, num_chains=2)
    assert found.distance.value.abs().max() < 1e-4


def test_a_wrong_guide_of_several_observed_arguments_is_found():
    def guide(x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal((x + y) / 3 + 1, 3**-0.5))

    assert not calibrate(pv.Pair(several_model, guide), torch.zeros(400), torch.zeros(400)).passed


class Copied(Written):
    def observe(self, z, x):
        super().observe(z, 2 * x)


@pytest.mark.parametrize("measure", [calibrate, lambda pair, x: bracket(pair, x, num_steps=2)])
def test_what_is_no_view_is_refused_with_the_cure(measure):
    with pytest.raises(ValueError, match=r"the model observes x, .*nor a view of one.*obs=x"):
        measure(Copied(), make_data())


# 8: NaN


class Missing(ChecksData):
    """z, then two modalities. NaN marks one that is missing."""

    takes_missing = True

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(()))

    def check_data(self, x, y):
        pass

    def model(self, x, y):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(self.loc, 1.0))
            for name, values in (("x", x), ("y", y)):
                with poutine.mask(mask=~values.isnan()):
                    pyro.sample(name, dist.Normal(z, 1.0), obs=values.nan_to_num())

    def guide(self, x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal((x.nan_to_num() + y.nan_to_num()) / 3, 0.7))


@pytest.mark.parametrize("place", [0, 1], ids=["x", "beyond x"])
def test_a_pair_that_takes_missing_values_is_given_them(place):
    data = [torch.randn(20), torch.randn(20)]
    data[place][3:5] = torch.nan
    pair = Missing()
    pv.fit(pair, *data, epochs=1, progress=False)
    assert log_weights(pair, *data, num_samples=3).isfinite().all()
    assert log_evidence(pair, *data, num_samples=9).value.isfinite().all()


def test_nan_beyond_x_is_refused_with_the_tensor_and_the_cure():
    pair, c = pv.Pair(conditional_model, conditional_guide), torch.zeros(20)
    c[4] = torch.nan
    with pytest.raises(ValueError, match=r"data\[1\] holds 1 .*rows \[4\].*takes_missing = True"):
        log_weights(pair, torch.zeros(20), c, num_samples=2)


def test_a_row_that_is_wholly_missing_is_refused_by_name():
    vae = pv.VAE(
        prior=pv.StandardNormal(D),
        likelihood=pv.missing(pv.Normal(F, given=D)),
        variational=pv.Normal(D, given=F, net=pv.masked(pv.networks.mlp)),
    )
    x = make_data()
    x[2] = torch.nan
    with pytest.raises(ValueError, match=r"x: every value is missing in rows \[2\].*Remove"):
        pv.fit(vae, x, epochs=1, progress=False)


def test_the_support_of_a_distribution_that_has_one_is_unchanged():
    assert pv.supports.find_support(dist.Normal(0.0, 1.0)) is constraints.real
