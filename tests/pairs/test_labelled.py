"""A Gaussian mixture with a linear decoder: log p(x), log p(x, y) and the posterior are known."""

import math
from typing import NamedTuple

import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from pyro_vae.weights.intake import admit
from tests.oracles import Stacked, affine, near, within

QUIET = {"progress": False}
K = 3


class Mixture(NamedTuple):
    """y ~ p, z ~ N(m_y, t² I), x ~ N(W z + b, s² I), in float64."""

    p: Tensor
    m: Tensor
    t: float
    w: Tensor
    b: Tensor
    s: float

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, y) for each y, `[n, K]`."""
        n = len(self.b)
        cov = self.t**2 * self.w @ self.w.T + self.s**2 * torch.eye(n, dtype=torch.float64)
        each = [MultivariateNormal(self.w @ m + self.b, cov).log_prob(x) for m in self.m]
        return torch.stack(each, -1) + self.p.log()

    def truth(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """log p(x, y) where y is known, else log p(x)."""
        joint = self.log_joint(x)
        if y is None:
            return joint.logsumexp(-1)
        known = joint.gather(-1, y.clamp(min=0).unsqueeze(-1))[:, 0]
        return torch.where(y >= 0, known, joint.logsumexp(-1))

    def pair(self, stretch=1.0) -> pv.LabelledVAE:
        """With q(z | x, y) the posterior, stretched, and any q(y | x)."""
        n, d = self.w.shape
        precision = self.w.T @ self.w / self.s**2 + torch.eye(d).double() / self.t**2
        from_x = torch.linalg.solve(precision, self.w.T / self.s**2)
        from_y = torch.linalg.solve(precision, self.m.T / self.t**2)
        net = Stacked(affine(torch.cat([from_x, from_y], 1), -from_x @ self.b))
        tril = stretch * torch.linalg.cholesky(torch.linalg.inv(precision))
        to_z = affine(self.m.T, torch.zeros(d).double())
        return pv.LabelledVAE(
            labels=pv.OneHotCategorical(K, logits=self.p.log()),
            prior=pv.Normal(d, given=K, net=to_z, scale=torch.full((d,), self.t).double()),
            likelihood=pv.Normal(
                n, given=d, net=affine(self.w, self.b), scale=torch.full((n,), self.s).double()
            ),
            classifier=pv.OneHotCategorical(K, given=n),
            variational=pv.MultivariateNormal(d, given=[n, K], net=net, scale_tril=tril),
        ).double()

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        y = torch.multinomial(self.p, n, replacement=True)
        z = self.m[y] + self.t * torch.randn(n, self.m.shape[1]).double()
        return z @ self.w.T + self.b + self.s * torch.randn(n, len(self.b)).double(), y


def mixture() -> Mixture:
    g = torch.Generator().manual_seed(5)

    def draw(*shape):
        return torch.randn(shape, generator=g, dtype=torch.float64)

    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    return Mixture(p, 1.5 * draw(K, 2), 0.7, draw(4, 2), draw(4), 0.6)


def labels(x, y, known):
    """No labels argument, or every label, or every other one."""
    if known == "without":
        return ()
    if known == "none":
        return (torch.full_like(y, -1),)
    return (y if known == "all" else torch.where(torch.arange(len(y)) % 2 > 0, y, -1),)


KNOWN = pytest.mark.parametrize("known", ["without", "none", "some", "all"])


@KNOWN
def test_with_the_posterior_given_y_every_weight_is_known(known):
    world = mixture()
    x, y = world.sample(6)
    given = labels(x, y, known)
    log_w = pv.diagnostics.log_weights(world.pair(), x, *given, num_samples=3)
    truth = world.truth(x, *given)
    torch.testing.assert_close(log_w, truth.expand(3, 6), rtol=1e-6, atol=1e-6)


@KNOWN
def test_evidence_annealing_and_elbo_beside_it(known):
    world = mixture()
    x, y = world.sample(4)
    given, pair = labels(x, y, known), world.pair(stretch=1.4)
    truth = world.truth(x, *given)
    sampled = pv.diagnostics.log_evidence(pair, x, *given, num_samples=4000, **QUIET)
    annealed = pv.diagnostics.annealed_log_evidence(
        pair, x, *given, num_steps=10, num_chains=40, num_leapfrog=4, **QUIET
    )
    assert within(sampled.value, truth, sampled.stderr)
    assert near(annealed, truth)

    # KL of the stretched normal, and of q(y | x) where y is summed over
    r = 1.4**2
    gap = torch.full((4,), 2 * (r - 1 - math.log(r)) / 2).double()
    q, p = pair.classifier(x).logits.detach(), world.log_joint(x).log_softmax(-1)
    kl = (q.exp() * (q - p)).sum(-1)
    is_known = given[0] >= 0 if given else torch.zeros(4, dtype=torch.bool)
    gap = gap + torch.where(is_known, 0.0, kl)
    assert near(pv.diagnostics.elbo(pair, x, *given, num_samples=4000, **QUIET), truth - gap)
    assert near(pv.diagnostics.posterior_gap(pair, x, *given, num_samples=4000, **QUIET), gap)


@KNOWN
def test_the_elbo_is_that_of_trace_enum(known):
    world = mixture()
    x, y = world.sample(5)
    # Pyro's own masks are no float64
    given, pair, x = labels(x, y, known), world.pair().float(), x.float()
    ours = pv.Objective(pair)
    theirs = pv.Objective(pair, TraceEnum_ELBO(max_plate_nesting=1))
    # with the posterior given y, nothing about the draws of z matters
    torch.testing.assert_close(ours(x, *given), theirs(x, *given), rtol=1e-4, atol=1e-4)


def test_the_label_is_found_on_average_too():
    """With any decoder: our ELBO and that of TraceEnum_ELBO have one mean."""
    torch.manual_seed(0)
    pair = pv.LabelledVAE(
        labels=pv.OneHotCategorical(K, logits=0.0),
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(4, given=[2, K]),
        classifier=pv.OneHotCategorical(K, given=4),
        variational=pv.Normal(2, given=[4, K]),
    )
    x, y = torch.bernoulli(torch.full((4, 4), 0.5)), torch.tensor([0, -1, 2, -1])
    losses = []
    for elbo in (None, TraceEnum_ELBO(max_plate_nesting=1)):
        objective = pv.Objective(pair, elbo)
        losses.append(torch.stack([objective(x, y).detach() for _ in range(150)]).double())
    ours, theirs = losses
    error = (ours.var() / 150 + theirs.var() / 150).sqrt()
    assert (ours.mean() - theirs.mean()).abs() < 5 * error


def test_a_known_row_counts_once():
    """A row with a known label has the bound of a pair whose classifier is certain of it."""
    world = mixture()
    x, y = world.sample(5)
    pair = world.pair()
    loss = pv.Objective(pair)(x, y)
    torch.testing.assert_close(loss, -world.truth(x, y).mean())
    bound = pv.Objective(pair, pv.ImportanceWeighted(3))(x, y)
    torch.testing.assert_close(bound, loss)


def test_draws_have_labels():
    world = mixture()
    drawn = pv.simulate(world.pair(), torch.zeros(5000, 4).double())
    share = drawn["y"].mean(0)
    assert within(share, world.p, (world.p * (1 - world.p) / 5000).sqrt())


def test_given_labels_are_drawn_for():
    world = mixture()
    y = torch.full((4000,), 1)
    z = pv.simulate(world.pair(), torch.zeros(4000, 4).double(), y)["z"]
    assert within(z.mean(0), world.m[1], torch.full((2,), world.t / 4000**0.5).double())


def test_a_known_label_is_the_one_that_is_decoded():
    """x is decoded at the label of its row; where it is not known, at one that q(y | x) draws."""
    pair = make(likelihood=pv.Normal(4, given=[2, K], net=Second(), scale=0.1))
    y = torch.tensor([0, 2, 1, -1])
    for run in (pv.reconstruct, pv.simulate):
        decoded = run(pair, torch.zeros(4, 4), y, mean=True)["x"][:, :K]
        assert torch.equal(decoded[:3], torch.eye(K)[y[:3]])
        assert decoded[3].sum() == 1


class Second(nn.Module):
    """The label itself, and a zero."""

    def forward(self, z, y):
        return nn.functional.pad(y, (0, 1))


X = torch.zeros(3, 4).double()


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ((X, torch.tensor([0, 1, 3])), ValueError, "y: expected labels from 0 to 2.* 3 in row 2"),
        ((X, torch.tensor([0, -2, 1])), ValueError, "y: .*got -2 in row 1"),
        ((X, torch.tensor([0.0, 1.0, 2.0])), TypeError, "y: expected whole numbers"),
        ((X, torch.eye(3).long()), TypeError, r"y: expected whole numbers \[n\]"),
        ((X, torch.tensor([True, False, True])), TypeError, "y: expected whole numbers"),
        ((X, torch.tensor([0, 1])), ValueError, r"data\[1\]: expected as many rows as x, 3, got 2"),
        ((X, torch.tensor([0, 1, 2]), X), TypeError, "expected x and its labels, got 3 tensors"),
    ],
)
def test_bad_labels_are_refused_before_training(data, error, words):
    pair = mixture().pair()
    with pytest.raises(error, match=words):
        pv.fit(pair, *data, epochs=1, **QUIET)
    with pytest.raises(error, match=words):
        admit(pair, data)


def make(**changed):
    parts = {
        "labels": pv.OneHotCategorical(K),
        "prior": pv.Normal(2, given=K),
        "likelihood": pv.Bernoulli(4, given=[2, K]),
        "classifier": pv.OneHotCategorical(K, given=4),
        "variational": pv.Normal(2, given=[4, K]),
    }
    return pv.LabelledVAE(**(parts | changed))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"classifier": pv.OneHotCategorical(4, given=4)}, r"shape of y: .*classifier \(4,\)"),
        ({"prior": pv.Normal(2, given=4)}, r"shape of y: .*prior \(given\) \(4,\)"),
        ({"likelihood": pv.Bernoulli(4, given=[2, 5])}, r"shape of y: .*likelihood \(given\)"),
        ({"likelihood": pv.Bernoulli(4, given=[1, K])}, "shape of z"),
        ({"variational": pv.Normal(2, given=[5, K])}, "shape of x"),
        ({"classifier": pv.OneHotCategorical(K, given=5)}, "shape of x"),
        ({"variational": pv.Gamma(2, given=[4, K])}, "supports of z differ"),
        ({"classifier": pv.Normal(K, given=4)}, "classifier: .*one-hot"),
        ({"labels": pv.Normal(K), "classifier": pv.Normal(K, given=4)}, "OneHotCategorical"),
        (
            {"labels": pv.Categorical((), classes=K)},
            r"shape of y: labels \(\)",
        ),
    ],
)
def test_parts_that_do_not_fit(changed, words):
    with pytest.raises(ValueError, match=words):
        make(**changed)


def test_a_batch_of_unknown_labels_trains():
    pair = make()
    x = torch.ones(4, 4)
    loss = pv.Objective(pair)(x, torch.full((4,), -1))
    loss.backward()
    assert all(p.grad.isfinite().all() for p in pair.parameters())


def test_the_posterior_given_known_labels_is_calibrated():
    world = mixture()
    x, y = world.sample(200)
    found = pv.diagnostics.calibrate(world.pair(), x, y, num_draws=50, **QUIET)
    assert found.passed
    narrow = world.pair(stretch=0.4)
    assert not pv.diagnostics.calibrate(narrow, x, y, num_draws=50, **QUIET).passed


def test_the_picture_says_of_what_the_evidence_is():
    pair, x = make(), torch.ones(4, 4)
    some = pv.diagnostics.picture(pair, x, torch.tensor([0, -1, 2, -1]), num_samples=20, **QUIET)
    assert some.note == (
        "The label is known in 2 of 4 rows: log p(x) stands for log p(x, y) there."
    )
    assert some.note in str(some) and some.as_dict()["note"] == some.note
    none = pv.diagnostics.picture(pair, x, torch.full((4,), -1), num_samples=20, **QUIET)
    assert none.note is None
