"""Whether the numbers are what they say: k̂, the ± of log p(x), and the power of calibration.

Each part repeats a measurement whose truth is known.

    python benchmarks/honesty.py                    # all
    python benchmarks/honesty.py coverage           # one part: khat, coverage, grid, calibration
    python benchmarks/honesty.py --short            # few repetitions
"""

import argparse
import math
from collections.abc import Callable

import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.diagnostics import calibrate, grid_posterior, log_evidence
from pyro_vae.diagnostics.evidence import estimate_evidence
from pyro_vae.diagnostics.pareto import khat_threshold, pareto_khat, widen_error

DRAWS = 1000


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


def make_pair(covariance: Tensor, spread: Tensor | None, shift) -> pv.VAE:
    """z ~ N(0, I) and x ~ N(z, C), so that p(z|x) has the covariance given; q is wrong as asked."""
    eye = torch.eye(2, dtype=torch.float64)
    noise = torch.linalg.inv(torch.linalg.inv(covariance) - eye)
    gain = torch.eye(2, dtype=torch.float64) - covariance
    q = pv.MultivariateNormal(
        2,
        given=2,
        net=lambda given, out: torch.nn.Linear(2, 2).double(),
        scale_tril=torch.linalg.cholesky(eye if spread is None else spread),
    )
    likelihood = pv.MultivariateNormal(
        2,
        given=2,
        net=lambda given, out: torch.nn.Linear(2, 2).double(),
        scale_tril=torch.linalg.cholesky(noise),
    )
    pair = pv.VAE(prior=pv.StandardNormal(2), likelihood=likelihood, variational=q).double()
    set_linear(pair.likelihood, eye, torch.zeros(2))
    set_linear(
        pair.variational, 0 * eye if spread is None else gain, torch.full((2,), float(shift))
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
        what = "epochs" if part == "grid" else "repetitions"
        print(f"\n{part}, {repeats} {what}, seed 0\n")
        print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
        for name, *numbers in tables[part]:
            print(f"| {name} | {' | '.join(f'{number:.3g}' for number in numbers)} |")
    return tables


if __name__ == "__main__":
    main()
