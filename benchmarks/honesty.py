"""Whether the numbers are what they say: k̂, the ± of log p(x), the gaps, missed modes, calibration.

Each part repeats a measurement whose truth is known.

    python benchmarks/honesty.py                    # all
    python benchmarks/honesty.py coverage           # one part, see --help
    python benchmarks/honesty.py --short            # few repetitions
"""

import argparse
import math
import time
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.diagnostics import calibrate, grid_posterior, inference_gaps, log_evidence
from pyro_vae.diagnostics.estimate import Estimate, average_data
from pyro_vae.diagnostics.evidence import estimate_evidence
from pyro_vae.diagnostics.pareto import khat_threshold, pareto_khat, widen_error
from pyro_vae.diagnostics.second_look import look_again

DRAWS = 1000
WORLDS = ((2, 10.0), (2, 1000.0), (20, 10.0), (20, 3847.0))  # latents, condition of p(z|x)


def draw_pareto(k: float, repeats: int) -> tuple[Tensor, float]:
    """log w `[draws, repeats]` of a Pareto tail of shape k, and the logarithm of their mean."""
    u = torch.rand(DRAWS, repeats, dtype=torch.float64)
    weights = (u**-k - 1) / k if k else -u.log()

    return weights.log(), -math.log(1 - k)


def draw_normal(scale: float, repeats: int) -> tuple[Tensor, float]:
    """log w that are normal, as those of many latents are, and the logarithm of their mean."""
    return scale * torch.randn(DRAWS, repeats, dtype=torch.float64), scale**2 / 2


def measure_khat(repeats: int) -> list[tuple[str, float, float]]:
    """The median k̂ of vectors of each kind, ours and ArviZ's, where it is installed."""
    kinds = {f"normal, {scale} nats": scale for scale in (0.3, 1, 3, 15, 50, 300)}
    rows = []
    for name, scale in kinds.items():
        log_weight, _ = draw_normal(scale, repeats)
        rows.append((name, pareto_khat(log_weight).median().item(), _ask_arviz(log_weight)))
    for k in (0.1, 0.5, 0.7, 1.0):
        log_weight = torch.rand(DRAWS, repeats, dtype=torch.float64).pow(-k).log()
        rows.append(
            (f"Pareto, k = {k}", pareto_khat(log_weight).median().item(), _ask_arviz(log_weight))
        )
    rare = 2 * torch.bernoulli(torch.full((DRAWS, repeats), 0.05, dtype=torch.float64))
    rows.append(("two values, 5 % high", pareto_khat(rare).median().item(), _ask_arviz(rare)))
    return rows


def _ask_arviz(log_weight: Tensor) -> float:
    try:
        import arviz
    except ImportError:
        return math.nan
    found = [float(arviz.psislw(column.numpy().copy())[1]) for column in log_weight.T]
    return torch.tensor(found).median().item()


def measure_coverage(repeats: int) -> list[tuple[str, float, float, float]]:
    """How often ± 2 errors hold the truth: by the delta method, widened, and where k̂ passes."""
    draws: dict[str, Callable[[], tuple[Tensor, float]]] = {
        f"Pareto, k = {k}": lambda k=k: draw_pareto(k, repeats) for k in (0.0, 0.4, 0.5, 0.6, 0.7)
    }
    draws |= {
        f"normal, {scale} nats": lambda scale=scale: draw_normal(scale, repeats)
        for scale in (0.3, 1.0, 2.0)
    }
    rows = []
    for name, draw in draws.items():
        log_weight, truth = draw()
        found = estimate_evidence(log_weight)
        squares = log_weight.softmax(0).square().sum(0)
        plain = ((DRAWS * squares - 1) / (DRAWS - 1)).sqrt()
        miss = (found.value - truth).abs()
        passes = found.khat <= khat_threshold(DRAWS)
        is_covered = (miss <= 2 * found.stderr).double()
        rows.append(
            (
                name,
                (miss <= 2 * plain).double().mean().item(),
                is_covered.mean().item(),
                is_covered[passes].mean().item(),
            )
        )
    return rows


def measure_grid(epochs: int) -> list[tuple[str, float]]:
    """log p(x) of 300 test digits under a VAE of two latents, and its ±, against a grid."""
    digits = pv.data.load("digits")
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli((1, 8, 8), given=2),
        variational=pv.Normal(2, given=(1, 8, 8)),
    )
    pv.fit(vae, digits.train, epochs=epochs, transform=torch.bernoulli, seed=0, progress=False)
    x = pv.data.binarise(digits.test)
    torch.manual_seed(0)
    found = log_evidence(vae, x, num_samples=DRAWS, progress=False)
    exact = grid_posterior(vae, x, size=300).log_evidence

    miss = found.value - exact
    plain = found.stderr / widen_error(torch.ones_like(found.stderr), found.khat)
    return [
        ("mean of the estimates less the exact mean", miss.mean().item()),
        ("± of the mean by the delta method", plain.square().sum().sqrt().item() / len(miss)),
        ("± of the mean as reported", found.stderr.square().sum().sqrt().item() / len(miss)),
        (
            "± 2 of a datum by the delta method hold",
            (miss.abs() <= 2 * plain).double().mean().item(),
        ),
        (
            "± 2 of a datum as reported hold",
            (miss.abs() <= 2 * found.stderr).double().mean().item(),
        ),
        ("k̂ is above its threshold", (found.khat > khat_threshold(DRAWS)).double().mean().item()),
    ]


def measure_calibration(repeats: int) -> list[tuple[str, float, float]]:
    """How often calibration finds a planted fault: by single dimensions, and altogether.

    The posterior of two latents is normal with correlation 0.9. Each run simulates 500 data.
    """
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64) / 10
    flipped = covariance * torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    shift = 0.2 * covariance[0, 0].sqrt()
    guides = {
        "exact": (covariance, 0.0),
        "correlation turned round": (flipped, 0.0),
        "shifted by 0.2 standard deviations": (covariance, shift),
        "the prior for every x": (None, 0.0),
    }
    rows = []
    for name, (spread, by) in guides.items():
        found = [
            calibrate(make_pair(covariance, spread, by), 500, progress=False)
            for _ in range(repeats)
        ]
        single = sum(bool((run.adjusted < run.level).any()) for run in found)
        rows.append((name, single / repeats, sum(not run.passed for run in found) / repeats))
    return rows


def measure_gaps(n: int) -> list[tuple[str, float, float, float, float]]:
    """The best gap of a family, found by a refit of 200 steps, against its closed form.

    p(z|x) is normal with an axis for each dimension that lies anyhow. The encoder is off by so many
    standard deviations, or is the posterior itself.
    """
    rows = []
    worlds = [
        (condition, rotate(torch.logspace(0, -math.log10(condition), d, dtype=torch.float64) / 2))
        for d, condition in WORLDS
    ]
    for condition, covariance in worlds:
        d, precision = len(covariance), torch.linalg.inv(covariance)
        best = (precision.diagonal().log().sum() - precision.logdet()).item() / 2
        scale = precision.diagonal().rsqrt()
        for name, off, family, truth in (
            ("full, encoder exact", None, pv.MultivariateNormal, 0.0),
            ("full, encoder 3 sd off", 3.0, pv.MultivariateNormal, 0.0),
            ("mean field, encoder right", 0.0, None, best),
            ("mean field, encoder 3 sd off", 3.0, None, best),
        ):
            shift = 0.0 if off is None else off * scale
            pair = make_pair(covariance, covariance if off is None else scale, shift)
            p = dist.MultivariateNormal(
                torch.zeros(d, dtype=torch.float64), torch.eye(d).double() + find_noise(covariance)
            )
            x = p.sample((n,))
            exact = Estimate(p.log_prob(x), torch.zeros(n, dtype=torch.float64))
            start = time.process_time()
            found = inference_gaps(
                pair, x, log_evidence=exact, family=family, num_steps=200, progress=False
            )
            gap = average_data(found.approximation)
            seconds = time.process_time() - start
            row = f"{d} latents, condition {condition:.0f}, {name}"
            rows.append((row, gap.value, gap.stderr, truth, seconds))
    return rows


def rotate(variances: Tensor) -> Tensor:
    """A covariance of these variances, along random axes."""
    axes, _ = torch.linalg.qr(torch.randn(len(variances), len(variances), dtype=torch.float64))
    return axes @ variances.diag() @ axes.T


def measure_modes(repeats: int) -> list[tuple[str, float, float, float]]:
    """How often the second look warns, at 50 data and 2,000 draws, and k̂ and the error of log p(x).

    z_1 ~ N(0, 1) has two modes given x_1 = |z_1| + noise, z_2 has one.
    """
    rows = []
    for name, both, scale in (
        ("both modes", True, 1.0),
        ("both modes, 1.3 times too wide", True, 1.3),
        ("both modes, 0.7 times too narrow", True, 0.7),
        ("one of two modes", False, 1.0),
    ):
        warned, khat, miss = [], [], []
        for _ in range(repeats):
            pair, x, truth = make_modes(50, both, scale)
            found = log_evidence(pair, x, num_samples=2000, progress=False)
            look = look_again(pair, (x,), found, 2000)
            warned.append(look is not None and bool(look.warnings()))
            khat.append(found.khat.median().item())
            miss.append((found.value - truth).mean().item())
        average = [sum(numbers) / repeats for numbers in (warned, khat, miss)]
        rows.append((name, *average))
    return rows


def make_modes(n: int, both: bool, stretch: float, s: float = 0.2):
    """A pair whose p(z|x) has two modes, of which q has one or both, with data and log p(x)."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            mean = torch.stack([z[..., 0].abs(), z[..., 1]], -1)
            pyro.sample("x", dist.Normal(mean, s).to_event(1), obs=x)

    def guide(x):
        loc, scale = x / (1 + s**2), stretch * s / (1 + s**2) ** 0.5
        other = loc * loc.new_tensor([-1.0 if both else 1.0, 1.0])
        modes = dist.Normal(torch.stack([loc, other], -2), scale).to_event(1)
        with pyro.plate("data", len(x)):
            halves = dist.Categorical(logits=x.new_zeros(len(x), 2))
            pyro.sample("z", dist.MixtureSameFamily(halves, modes))

    z = torch.randn(n, 2, dtype=torch.float64)
    z[:, 0] = z[:, 0].abs().clamp(min=6 * s)
    x = z + s * torch.randn(n, 2, dtype=torch.float64)
    each = dist.Normal(0.0, (1 + s**2) ** 0.5).log_prob(x).sum(-1)
    return pv.Pair(model, guide), x, each + math.log(2)


def find_noise(covariance: Tensor) -> Tensor:
    """The covariance of the noise with which p(z|x) has the covariance given."""
    return torch.linalg.inv(torch.linalg.inv(covariance) - torch.eye(len(covariance)).double())


def make_pair(covariance: Tensor, spread: Tensor | None, shift) -> pv.VAE:
    """z ~ N(0, I) and x ~ N(z, C), so that p(z|x) has the covariance given; q is wrong as asked.

    Arguments:
        covariance: Of p(z|x).
        spread: Of q: its covariance, or its standard deviations, or None for the prior.
        shift: What the mean of q is off by.
    """
    d = len(covariance)
    eye = torch.eye(d, dtype=torch.float64)

    def linear(given, out):
        return torch.nn.Linear(d, d).double()

    if spread is not None and spread.dim() == 1:
        q = pv.Normal(d, given=d, net=linear, scale=spread)
    else:
        tril = torch.linalg.cholesky(eye if spread is None else spread)
        q = pv.MultivariateNormal(d, given=d, net=linear, scale_tril=tril)
    noise = torch.linalg.cholesky(find_noise(covariance))
    likelihood = pv.MultivariateNormal(d, given=d, net=linear, scale_tril=noise)
    pair = pv.VAE(prior=pv.StandardNormal(d), likelihood=likelihood, variational=q).double()
    set_linear(pair.likelihood, eye, torch.zeros(d))
    set_linear(
        pair.variational,
        0 * eye if spread is None else eye - covariance,
        torch.as_tensor(shift).expand(d),
    )
    return pair


def set_linear(part: pv.Conditional, weight: Tensor, bias: Tensor) -> None:
    """Give a conditional's linear network a weight and a bias."""
    linear = next(m for m in part.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)


PARTS = {
    "khat": (measure_khat, ("log w", "median k̂", "ArviZ"), (20, 5)),
    "coverage": (
        measure_coverage,
        ("log w", "delta method", "± as reported", "where k̂ passes"),
        (2000, 50),
    ),
    "grid": (measure_grid, ("digits", "value"), (300, 2)),
    "gaps": (measure_gaps, ("q*, and its start", "found", "±", "truth", "seconds"), (20, 2)),
    "modes": (measure_modes, ("q(z|x)", "warned", "median k̂", "less the truth"), (100, 2)),
    "calibration": (
        measure_calibration,
        ("q(z|x)", "found by dimension", "found"),
        (100, 2),
    ),
}


def main(argv: list[str] | None = None) -> dict[str, list[tuple]]:
    """Run the parts that are asked for, and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"Of {', '.join(PARTS)}. By default all.")
    parser.add_argument("--short", action="store_true", help="Few repetitions.")
    options = parser.parse_args(argv)

    tables = {}
    for part in options.parts or PARTS:
        measure, head, (long, short) = PARTS[part]
        repeats = short if options.short else long
        torch.manual_seed(0)
        tables[part] = measure(repeats)
        what = {"grid": "epochs", "gaps": "data"}.get(part, "repetitions")
        print(f"\n{part}, {repeats} {what}, seed 0\n")
        print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
        for name, *numbers in tables[part]:
            print(f"| {name} | {' | '.join(f'{number:.3g}' for number in numbers)} |")
    return tables


if __name__ == "__main__":
    main()
