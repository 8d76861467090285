"""Worlds in which everything that the library measures is known."""

import math
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyro_vae as pv


def affine(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    layer.weight.data.copy_(weight)
    layer.bias.data.copy_(bias)
    return layer


def two_in_a_chain(x: Tensor) -> None:
    """The model a ~ N(0, 1), b ~ N(a, 1), x ~ N(b, 1), for guides that are written by hand."""
    with pyro.plate("data", x.shape[0]):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(a, 1.0))
        pyro.sample("x", dist.Normal(b, 1.0), obs=x)


class Stacked(nn.Module):
    """An affine map of several vectors, one after the other."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.layer = layer

    def forward(self, *given: Tensor) -> Tensor:
        return self.layer(torch.cat(given, -1))


class LinearGaussian(NamedTuple):
    """z ~ N(0, I), x ~ N(Wz + b, s² I), in float64: probabilistic PCA."""

    w: Tensor
    b: Tensor
    s: float

    @property
    def m(self) -> Tensor:
        return self.w.T @ self.w + self.s**2 * torch.eye(self.w.shape[1], dtype=self.w.dtype)

    @property
    def to_mean(self) -> Tensor:
        """The matrix of E[z | x] = M⁻¹ Wᵀ (x - b)."""
        return torch.linalg.solve(self.m, self.w.T)

    @property
    def covariance(self) -> Tensor:
        return self.s**2 * torch.linalg.inv(self.m)

    def sample(self, n: int) -> Tensor:
        z = torch.randn(n, self.w.shape[1], dtype=self.w.dtype)
        return z @ self.w.T + self.b + self.s * torch.randn(n, self.w.shape[0], dtype=self.w.dtype)

    def log_evidence(self, x: Tensor) -> Tensor:
        c = self.w @ self.w.T + self.s**2 * torch.eye(len(self.b), dtype=self.w.dtype)
        return torch.distributions.MultivariateNormal(self.b, c).log_prob(x)

    def gap(self, x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
        """KL(q ‖ p(z|x)) of normal q."""
        q = torch.distributions.MultivariateNormal(mean, covariance)
        p = torch.distributions.MultivariateNormal((x - self.b) @ self.to_mean.T, self.covariance)
        return torch.distributions.kl_divergence(q, p)

    def pair(self, shift: float = 0.0, stretch: float = 1.0) -> pv.VAE:
        """The posterior as the variational, with its mean shifted and its scale stretched."""
        d, n = self.w.shape[1], self.w.shape[0]
        scale = torch.full((n,), self.s, dtype=self.w.dtype)
        tril = stretch * torch.linalg.cholesky(self.covariance)
        encode = affine(self.to_mean, shift - self.to_mean @ self.b)
        return pv.VAE(
            prior=pv.StandardNormal(d),
            likelihood=pv.Normal(n, given=d, net=affine(self.w, self.b), scale=scale),
            variational=pv.MultivariateNormal(d, given=n, net=encode, scale_tril=tril),
        ).double()


def linear_gaussian(d: int = 3, n: int = 6, s: float = 0.5) -> LinearGaussian:
    g = torch.Generator().manual_seed(1)
    w, b = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in ((n, d), (n,)))
    return LinearGaussian(w / math.sqrt(d), b, s)


def narrow_gaussian(d: int, condition: float, s: float = 0.5) -> LinearGaussian:
    """A world whose p(z | x) has a covariance of this condition number, along no axis."""
    g = torch.Generator().manual_seed(1)
    left, right = (
        torch.linalg.qr(torch.randn(n, d, generator=g, dtype=torch.float64))[0] for n in (2 * d, d)
    )
    precision = torch.logspace(0, math.log10(condition), d, dtype=torch.float64)
    return LinearGaussian(
        s * left * (precision - 1).clamp(min=0).sqrt() @ right.T, torch.zeros(2 * d).double(), s
    )


def one_of_two_modes(n: int = 100, s: float = 0.2, both: bool = False) -> tuple[pv.Pair, Tensor]:
    """x_1 ~ N(|z_1|, s²), x_2 ~ N(z_2, s²), so that z_1 has two modes. Data, none near 0.

    The guide is p(z | x) exactly on the mode above 0, or draws one of both.
    """

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).to(x), 1.0).to_event(1))
            mean = torch.stack([z[..., 0].abs(), z[..., 1]], -1)
            pyro.sample("x", dist.Normal(mean, s).to_event(1), obs=x)

    def guide(x):
        loc, scale = x / (1 + s**2), s / (1 + s**2) ** 0.5
        signs = x.new_tensor([[1.0, 1.0], [-1.0, 1.0]])
        with pyro.plate("data", x.shape[0]):
            if not both:
                pyro.sample("z", dist.Normal(loc, scale).to_event(1))
                return
            modes = dist.Normal(loc.unsqueeze(-2) * signs, scale).to_event(1)
            halves = dist.Categorical(logits=torch.zeros(x.shape[0], 2).to(x))
            pyro.sample("z", dist.MixtureSameFamily(halves, modes))

    z = torch.randn(n, 2, dtype=torch.float64)
    z[:, 0] = z[:, 0].abs().clamp(min=6 * s)
    return pv.Pair(model, guide), z + s * torch.randn(n, 2, dtype=torch.float64)


def within(value: Tensor, truth: Tensor, stderr: Tensor, errors: float = 5.0) -> bool:
    """Whether every estimate is within so many of its standard errors of the truth."""
    return bool(((value - truth).abs() <= errors * stderr + 1e-9).all())


class DiscreteWorld(NamedTuple):
    """z and x of finitely many values, everything a table, in float64."""

    p_z: Tensor
    p_x_given_z: Tensor
    q_z_given_x: Tensor

    def pair(self) -> pv.Pair:
        """Hand-written functions of an x that is a whole number, `[n]`."""

        def model(x):
            with pyro.plate("data", x.shape[0]):
                z = pyro.sample("z", dist.Categorical(self.p_z))
                pyro.sample("x", dist.Categorical(self.p_x_given_z[z]), obs=x)

        def guide(x):
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", dist.Categorical(self.q_z_given_x[x]))

        return pv.Pair(model, guide)


def discrete_world(z: int = 3, x: int = 5) -> DiscreteWorld:
    g = torch.Generator().manual_seed(2)
    tables = [
        torch.randn(shape, generator=g, dtype=torch.float64).softmax(-1)
        for shape in ((z,), (z, x), (x, z))
    ]
    return DiscreteWorld(*tables)


class LinearModalities(NamedTuple):
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
            found.append(
                torch.distributions.MultivariateNormal(w @ self.m + b, cov).log_prob(values)
            )
        return torch.stack(found)

    def sample(self, n: int) -> list[Tensor]:
        z = self.m + self.t * torch.randn(n, 2).double()
        return [
            z @ w.T + b + self.s * torch.randn(n, len(b)).double()
            for w, b in zip(self.w.values(), self.b.values(), strict=True)
        ]


def linear_modalities() -> LinearModalities:
    g = torch.Generator().manual_seed(6)

    def draw(n):
        return torch.linalg.qr(torch.randn(n, 2, generator=g, dtype=torch.float64))[0]

    scales = torch.tensor([1.5, 0.7]).double()
    w = {"image": draw(4) * scales, "text": draw(3)}
    b = {"image": torch.arange(4.0).double(), "text": torch.ones(3).double()}
    return LinearModalities(torch.tensor([0.5, -0.3]).double(), 0.8, w, b, 0.6)


def with_gaps() -> tuple[Tensor, Tensor]:
    """Six rows, of which one lacks its image and two lack their text."""
    image, text = linear_modalities().sample(6)
    image[1], text[2], text[5] = torch.nan, torch.nan, torch.nan
    return image, text


def near(estimate, truth, errors: float = 5.0) -> bool:
    """Whether an estimate is within so many of its standard errors of the truth."""
    difference = torch.as_tensor(estimate.value) - torch.as_tensor(truth)
    return bool((difference.abs() <= errors * torch.as_tensor(estimate.stderr) + 1e-9).all())


def normal_pair(to_mean: Tensor, scale, prior=None) -> pv.VAE:
    """q(z|x) = N(to_mean x, scale²), its dimensions independent; the likelihood is no matter."""
    d, n = to_mean.shape
    encode = torch.nn.Linear(n, d, bias=False, dtype=torch.float64)
    encode.weight.data.copy_(to_mean)
    return pv.VAE(
        prior=prior or pv.StandardNormal(d),
        likelihood=pv.Normal(n, given=d, scale=1.0),
        variational=pv.Normal(d, given=n, net=encode, scale=scale),
    ).double()


def sequential_pair() -> pv.Pair:
    """Two latents, the second given the first: jointly the q and p of a correlated normal."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(x.new_zeros(()), 1.0))
            b = pyro.sample("b", dist.Normal(0.5 * a, 0.8))
            pyro.sample("x", dist.Normal(a + b, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(0.4 * x, 0.6))
            pyro.sample("b", dist.Normal(0.3 * a + 0.2 * x, 0.5))

    return pv.Pair(model, guide)


class PartlyThere(NamedTuple):
    """A pair whose second latent does not exist in some rows, data for it, and log p(x).

    a ~ N(0, 1), and b ~ N(0, 1) where it exists, x ~ N(a + b, 1). Where b does not exist, p and q
    have it around other values, which must not count.
    """

    pair: pv.Pair
    data: tuple[Tensor, Tensor]
    log_evidence: Tensor


def partly_there(n: int = 12, stretch: float = 1.0) -> PartlyThere:
    """The guide draws b first, from p(b | x), and then a. Its scales are stretched."""

    def model(x, is_there):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(torch.zeros_like(x), 1.0))
            with pyro.poutine.mask(mask=is_there):
                b = pyro.sample("b", dist.Normal(torch.where(is_there, 0.0, -7.0).to(x), 1.0))
            pyro.sample("x", dist.Normal(a + torch.where(is_there, b, 0.0), 1.0), obs=x)

    def guide(x, is_there):
        with pyro.plate("data", x.shape[0]):
            with pyro.poutine.mask(mask=is_there):
                loc = torch.where(is_there, x / 3, x.new_tensor(50.0))
                b = pyro.sample("b", dist.Normal(loc, stretch * (2 / 3) ** 0.5))
            rest = x - torch.where(is_there, b, 0.0)
            pyro.sample("a", dist.Normal(rest / 2, stretch * 0.5**0.5))

    is_there = torch.arange(n) % 3 > 0
    x = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    scale = torch.where(is_there, 3.0, 2.0).double().sqrt()
    truth = dist.Normal(0.0, scale).log_prob(x)

    return PartlyThere(pv.Pair(model, guide), (x, is_there), truth)


def kl_of_tables(a: Tensor, b: Tensor) -> float:
    """KL(a ‖ b) of tables of probabilities."""
    return torch.where(a > 0, a * (a / b).log(), 0.0).sum().item()


def plain() -> pv.VAE:
    """A VAE with no labels and one modality, for what needs more to refuse."""
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(4, given=2),
        variational=pv.Normal(2, given=4),
    )


def draw_kl(q, p, count=200_000):
    """KL(q ‖ p) by draws, and its standard error."""
    torch.manual_seed(0)
    a = q.sample((count,))
    log_ratio = (q.log_prob(a) - p.log_prob(a)).double()
    return log_ratio.mean(), log_ratio.std() / count**0.5


def integrate_relaxed_kl(logit, temperature, edge):
    """KL of two relaxed Bernoullis, the second of logit 0, by the ends and what is between."""
    grid = torch.linspace(-edge, edge, 400_001, dtype=torch.float64)
    laws = [
        dist.Logistic(torch.tensor(loc / temperature).double(), 1 / temperature)
        for loc in (logit, 0.0)
    ]
    log_q, log_p = (law.log_prob(grid) for law in laws)
    between = torch.trapezoid(log_q.exp() * (log_q - log_p), grid)

    ends = [[law.cdf(-grid[-1]), 1 - law.cdf(grid[-1])] for law in laws]
    return between + sum(a * (a / b).log() for a, b in zip(*ends, strict=True))
