"""Linear modalities with exact experts: their product is the posterior."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from pyro_vae.pairs.multimodal import is_there
from pyro_vae.weights.intake import admit
from tests.oracles import affine, near, within

QUIET = {"progress": False}


class Linear(NamedTuple):
    """z ~ N(m, t²), x_m ~ N(W_m z + b_m, s² I), the columns of W_m orthogonal, in float64."""

    m: Tensor
    t: float
    w: dict[str, Tensor]
    b: dict[str, Tensor]
    s: float

    def find_expert(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """p(x_m | z) as a normal of z: the matrix and shift of its mean, and its scale."""
        w, b = self.w[name], self.b[name]
        precision = w.square().sum(0) / self.s**2
        matrix = w.T / self.s**2 / precision.unsqueeze(-1)
        return matrix, -matrix @ b, precision**-0.5

    def pair(self, stretch=1.0, join="product") -> pv.MultimodalVAE:
        likelihoods, experts = {}, {}
        for name, w in self.w.items():
            n, d = w.shape
            scale = torch.full((n,), self.s).double()
            likelihoods[name] = pv.Normal(n, given=d, net=affine(w, self.b[name]), scale=scale)
            matrix, shift, width = self.find_expert(name)
            experts[name] = pv.Normal(d, given=n, net=affine(matrix, shift), scale=stretch * width)
        prior = pv.Normal(2, loc=self.m, scale=torch.full((2,), self.t).double())
        return pv.MultimodalVAE(
            prior=prior, likelihoods=likelihoods, experts=experts, join=join
        ).double()

    def truth(self, *x: Tensor) -> Tensor:
        """log p of the modalities that are there, row by row."""
        found = []
        for row in zip(*x, strict=True):
            there = [i for i, values in enumerate(row) if not values.isnan().any()]
            names = [list(self.w)[i] for i in there]
            w = torch.cat([self.w[name] for name in names])
            b = torch.cat([self.b[name] for name in names])
            cov = self.t**2 * w @ w.T + self.s**2 * torch.eye(len(b)).double()
            values = torch.cat([row[i] for i in there])
            found.append(MultivariateNormal(w @ self.m + b, cov).log_prob(values))
        return torch.stack(found)

    def sample(self, n: int) -> list[Tensor]:
        z = self.m + self.t * torch.randn(n, 2).double()
        return [
            z @ w.T + b + self.s * torch.randn(n, len(b)).double()
            for w, b in zip(self.w.values(), self.b.values(), strict=True)
        ]


def world() -> Linear:
    g = torch.Generator().manual_seed(6)

    def draw(n):
        return torch.linalg.qr(torch.randn(n, 2, generator=g, dtype=torch.float64))[0]

    scales = torch.tensor([1.5, 0.7]).double()
    w = {"image": draw(4) * scales, "text": draw(3)}
    b = {"image": torch.arange(4.0).double(), "text": torch.ones(3).double()}
    return Linear(torch.tensor([0.5, -0.3]).double(), 0.8, w, b, 0.6)


def with_gaps():
    image, text = world().sample(6)
    image[1], text[2], text[5] = torch.nan, torch.nan, torch.nan
    return image, text


def test_a_product_of_exact_experts_is_the_posterior():
    x = with_gaps()
    log_w = pv.diagnostics.log_weights(world().pair(), *x, num_samples=3)
    torch.testing.assert_close(log_w, world().truth(*x).expand(3, 6), rtol=1e-6, atol=1e-6)


def test_the_mixture_has_a_component_for_each_that_is_there():
    x, pair = with_gaps(), world().pair(join="mixture")
    q = pair.find_variational(*x)
    z = torch.randn(6, 2).double()
    experts = [expert(v.nan_to_num()).log_prob(z) for expert, v in zip(pair.experts.values(), x)]
    there = torch.stack([is_there(v) for v in x])
    each = torch.where(there, torch.stack(experts), -torch.inf)
    torch.testing.assert_close(q.log_prob(z), each.logsumexp(0) - there.sum(0).log())


@pytest.mark.parametrize("join", ["product", "mixture"])
def test_evidence_and_annealing_beside_it(join):
    x, pair = with_gaps(), world().pair(stretch=1.5, join=join)
    exact = world().truth(*x)
    sampled = pv.diagnostics.log_evidence(pair, *x, num_samples=5000, **QUIET)
    annealed = pv.diagnostics.annealed_log_evidence(
        pair, *x, num_steps=10, num_chains=40, num_leapfrog=4, **QUIET
    )
    assert within(sampled.value, exact, sampled.stderr)
    assert near(annealed, exact)


@pytest.mark.parametrize("join", ["product", "mixture"])
def test_gradients_are_finite_with_gaps(join):
    x, pair = with_gaps(), world().pair(stretch=1.5, join=join)
    pv.Objective(pair)(*x).backward()
    gradients = [p.grad for p in pair.parameters() if p.grad is not None]
    assert gradients and all(g.isfinite().all() for g in gradients)


def test_one_modality_is_generated_from_the_other():
    """A modality that is missing in every row is drawn from p(text | image)."""
    linear = world()
    image, _ = linear.sample(1)
    n = 20_000
    image, text = image.expand(n, 4), torch.full((n, 3), torch.nan).double()
    drawn = pv.reconstruct(linear.pair(), image, text, mean=False)["text"]

    w, b = torch.cat(list(linear.w.values())), torch.cat(list(linear.b.values()))
    cov = linear.t**2 * w @ w.T + linear.s**2 * torch.eye(7).double()
    mean = w @ linear.m + b
    gain = cov[4:, :4] @ torch.linalg.inv(cov[:4, :4])
    expected = mean[4:] + gain @ (image[0] - mean[:4])
    spread = (cov[4:, 4:] - gain @ cov[:4, 4:]).diagonal()
    assert within(drawn.mean(0), expected, (spread / n).sqrt())
    assert within(drawn.var(0), spread, spread * math.sqrt(2 / n))


X = torch.zeros(3, 4), torch.zeros(3, 3)


def blank(x, rows, columns=slice(None)):
    x = x.clone()
    x[rows, columns] = torch.nan
    return x


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (X[:1], TypeError, r"expected a tensor for each of \['image', 'text'\], got 1"),
        ((*X, X[0]), TypeError, "got 3"),
        ((blank(X[0], 1), blank(X[1], 1)), ValueError, r"no modality is there in rows \[1\]"),
        ((blank(X[0], 2, 0), X[1]), ValueError, r"image: some .* NaN in rows \[2\]"),
        ((X[0], blank(X[1], 0, 1)), ValueError, r"text: some .* NaN in rows \[0\]"),
        ((X[0] + torch.inf, X[1]), ValueError, r"image: .* infinite"),
        ((X[0], X[1][:2]), ValueError, "expected as many rows as x, 3, got 2"),
    ],
)
def test_bad_data_are_refused_before_training(data, error, words):
    pair = world().pair()
    with pytest.raises(error, match=words):
        pv.fit(pair, *data, epochs=1, **QUIET)
    with pytest.raises(error, match=words):
        admit(pair, data)


def make(**changed):
    parts = {
        "prior": pv.StandardNormal(2),
        "likelihoods": {"image": pv.Bernoulli(4, given=2), "text": pv.Bernoulli(3, given=2)},
        "experts": {"image": pv.Normal(2, given=4), "text": pv.Normal(2, given=3)},
    }
    return pv.MultimodalVAE(**(parts | changed))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"likelihoods": {}, "experts": {}}, "experts: expected one for each likelihood"),
        ({"experts": {"image": pv.Normal(2, given=4)}}, r"under the same names.*got \['image'\]"),
        ({"join": "sum"}, "join: expected 'product' or 'mixture', got 'sum'"),
        ({"prior": pv.StandardNormal(3)}, "shape of z"),
        (
            {"experts": {"image": pv.Normal(2, given=5), "text": pv.Normal(2, given=3)}},
            "shape of image",
        ),
        (
            {"experts": {"image": pv.Gamma(2, given=4), "text": pv.Normal(2, given=3)}},
            "expert of image: expected a pv.Normal",
        ),
        (
            {"experts": {"image": pv.Laplace(2, given=4), "text": pv.Normal(2, given=3)}},
            "expert of image: expected a pv.Normal",
        ),
        (
            {
                "experts": {
                    "image": pv.MultivariateNormal(2, given=4),
                    "text": pv.Normal(2, given=3),
                }
            },
            "expert of image: expected a pv.Normal",
        ),
        ({"prior": pv.Laplace(2)}, "prior: expected a pv.Normal"),
    ],
)
def test_parts_that_do_not_fit(changed, words):
    with pytest.raises(ValueError, match=words):
        make(**changed)


def test_a_mixture_takes_any_prior():
    pair = make(prior=pv.Laplace(2), join="mixture")
    pv.Objective(pair)(*X)


def test_the_posterior_is_calibrated_with_what_is_missing():
    image, text = (x.repeat(40, 1) for x in with_gaps())
    pair = world().pair()
    assert pv.diagnostics.calibrate(pair, image, text, num_draws=50, **QUIET).passed
    narrow = world().pair(stretch=0.4)
    assert not pv.diagnostics.calibrate(narrow, image, text, num_draws=50, **QUIET).passed


def test_the_picture_says_what_is_missing():
    seen = pv.diagnostics.picture(world().pair(), *with_gaps(), num_samples=20, **QUIET)
    assert "Missing in rows: image in 1, text in 2. log p(x) is of the modalities" in str(seen)
