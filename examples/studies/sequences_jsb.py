"""A deep Markov model of the JSB chorales, beside the same model with a site for each step.

Both pairs have the same parts, start, seed, batches and optimiser. One is `pv.SequenceVAE`, the
other is written by hand in the form of Pyro's example `dmm.py`. Each trains for the same CPU time.
So the weights at the end are compared at equal time, and those at the last epoch of the curve that
both reached at equal epochs.

Pyro's tutorial reaches a test ELBO of -6.87 nats per step, after 5,000 epochs. What differs here:
far fewer epochs, a larger learning rate (3e-4 there), a shorter KL annealing (1,000 epochs there),
a smaller net (z 100, emission 100, transition 200, RNN 600 there), no dropout in the RNN, and the
weights that are best on the validation data. Set PYRO_VAE_DATA to the folder that has
jsb-quarter.json.

    python examples/studies/sequences_jsb.py           # 10 minutes on one free core
    python examples/studies/sequences_jsb.py 40        # 40 CPU minutes for each pair instead of 4
    python examples/studies/sequences_jsb.py --short   # seconds, on a few short sequences
"""

import copy
import sys
import time
from dataclasses import dataclass
from functools import partial

import pyro
import torch
from pyro import poutine
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.diagnostics.estimate import average_draws
from pyro_vae.diagnostics.evidence import estimate_evidence

PUBLISHED = -6.87  # nats per step, the test ELBO of Pyro's tutorial
KEYS, BATCH = 88, 20
CURVE = (1, 10, 25, 50, 75, 100, 150, 200, 300, 400, 600, 1000)  # epochs that are measured
SHORT = {"minutes": 0.02, "warm_up": 1, "rows": 12, "steps": 5, "num_samples": 5}


def make_parts(latent: int, width: int, hidden: int) -> dict[str, nn.Module]:
    """The parts of both pairs, always from the same start."""
    torch.manual_seed(0)
    mlp = pv.networks.mlp
    return {
        "transition": pv.Normal(latent, given=latent, net=partial(pv.networks.gated, hidden=width)),
        "emission": pv.Bernoulli(KEYS, given=latent, net=partial(mlp, hidden=(width, width))),
        "variational": pv.Normal(latent, given=[latent, hidden], net=partial(mlp, hidden=(width,))),
        "encoder": pv.networks.Backward(KEYS, hidden, cell=nn.RNN),
    }


class Stepwise(nn.Module):
    """The same model and guide as Pyro's `dmm.py` has them: a site for each step, masked."""

    def __init__(self, transition, emission, variational, encoder):
        super().__init__()
        self.transition, self.emission = transition, emission
        self.variational, self.encoder = variational, encoder
        self.z_0 = nn.Parameter(torch.zeros(transition.event_shape))
        self.z_q_0 = nn.Parameter(torch.zeros(transition.event_shape))

    def model(self, x, lengths):
        pyro.module("dmm", self)
        with pyro.plate("z_minibatch", x.shape[0]):
            z = self.z_0
            for t in pyro.markov(range(x.shape[1])):
                with poutine.mask(mask=t < lengths):
                    z = pyro.sample(f"z_{t + 1}", self.transition(z))
                    pyro.sample(f"x_{t + 1}", self.emission(z), obs=x[:, t])

    def guide(self, x, lengths):
        pyro.module("dmm", self)
        h = self.encoder(x, lengths)
        with pyro.plate("z_minibatch", x.shape[0]):
            z = self.z_q_0.expand(x.shape[0], -1)
            for t in pyro.markov(range(x.shape[1])):
                with poutine.mask(mask=t < lengths):
                    z = pyro.sample(f"z_{t + 1}", self.variational(z, h[:, t]))


def make_pairs(**sizes: int) -> dict[str, nn.Module]:
    stepwise = Stepwise(**make_parts(**sizes))
    return {
        "SequenceVAE": pv.SequenceVAE(**make_parts(**sizes)),
        "a site for each step": pv.Pair(stepwise.model, stepwise.guide, name="dmm"),
    }


@dataclass(frozen=True)
class Point:
    """A pair at some epoch: CPU seconds, and what it scores on test in nats per step."""

    epoch: int
    seconds: float
    elbo: pv.diagnostics.Estimate
    evidence: pv.diagnostics.Estimate


class Clock:
    """Stops a run when its CPU time is up, and keeps the weights at the epochs of the curve."""

    def __init__(self, pair: nn.Module, seconds: float):
        self.pair, self.seconds = pair, seconds
        self.began = time.process_time()
        self.kept: dict[int, tuple[float, dict]] = {}

    def __call__(self, history: pv.History) -> bool:
        epoch, spent = len(history.loss), time.process_time() - self.began
        is_over = spent > self.seconds
        if epoch in CURVE or is_over:
            self.kept[epoch] = spent, copy.deepcopy(self.pair.state_dict())
        return is_over


def train(
    pair: nn.Module, data: pv.data.Dataset, minutes: float, warm_up: int, learning_rate: float
) -> tuple[pv.History, Clock]:
    """Train for so much CPU time. The weights that are best on validation are in the pair then."""
    x, lengths = data.train, data.lengths[0]
    steps = warm_up * -(-len(x) // BATCH)
    clock = Clock(pair, 60 * minutes)
    history = pv.fit(
        pair,
        x,
        lengths,
        epochs=100_000,
        batch_size=BATCH,
        # the tutorial's weight decay is 2.0, over a loss that is summed over the batch
        optimizer=partial(
            ClippedAdam,
            lr=learning_rate,
            betas=(0.96, 0.999),
            clip_norm=10.0,
            weight_decay=2.0 / BATCH,
        ),
        objective=pv.KLWeight(pv.Objective(pair), lambda step: min(1.0, 0.2 + 0.8 * step / steps)),
        validation=(data.validation, data.lengths[1]),
        patience=100_000,
        seed=0,
        callback=clock,
        progress=False,
    )
    return history, clock


def measure(pair: nn.Module, x: Tensor, lengths: Tensor, k: int) -> tuple:
    """The ELBO and log p(x) on the same k draws of q, in nats per step."""
    torch.manual_seed(0)
    log_w = pv.diagnostics.log_weights(pair, x, lengths, num_samples=k)
    found = average_draws(log_w), estimate_evidence(log_w)
    return tuple(pv.diagnostics.per_step(each, lengths).total for each in found)


def measure_curve(pair: nn.Module, clock: Clock, x: Tensor, lengths: Tensor, k: int) -> list[Point]:
    points = []
    for epoch, (seconds, weights) in clock.kept.items():
        pair.load_state_dict(weights)
        points.append(Point(epoch, seconds, *measure(pair, x, lengths, k)))
        print(write(points[-1]), flush=True)
    return points


def write(point: Point) -> str:
    elbo, evidence = point.elbo, point.evidence
    return (
        f"{point.epoch:7} {point.seconds:8.0f} {elbo.value:10.3f} ± {elbo.stderr:.3f} "
        f"{evidence.value:10.3f} ± {evidence.stderr:.3f}"
    )


def score_keys(data: pv.data.Dataset) -> float:
    """What an independent Bernoulli for each key scores on test, in nats per step."""
    lengths = data.lengths[2]
    p = (data.train.sum((0, 1)) + 0.5) / (data.lengths[0].sum() + 1)
    each = torch.distributions.Bernoulli(p).log_prob(data.test).sum(-1)
    is_within = torch.arange(data.test.shape[1]) < lengths.unsqueeze(-1)
    return (each[is_within].sum() / lengths.sum()).item()


def cut(data: pv.data.Dataset, rows: int | None, steps: int | None) -> pv.data.Dataset:
    """The first rows and steps of each split."""
    splits = [x[:rows, :steps] for x in data.splits.values()]
    pairs = zip(splits, data.lengths, strict=True)
    lengths = tuple(n[:rows].clamp(max=x.shape[1]) for x, n in pairs)
    return data._replace(train=splits[0], validation=splits[1], test=splits[2], lengths=lengths)


def main(
    minutes: float = 4.0,
    warm_up: int = 50,
    learning_rate: float = 3e-3,
    latent: int = 32,
    width: int = 100,
    hidden: int = 128,
    num_samples: int = 50,
    rows: int | None = None,
    steps: int | None = None,
) -> dict[str, list[Point]]:
    data = cut(pv.data.load("jsb-chorales"), rows, steps)
    x, lengths = data.test, data.lengths[2]
    floor = score_keys(data)
    print(f"{data}\n{lengths.sum()} steps of test data")
    print(f"an independent Bernoulli for each key: {floor:.3f} nats per step")

    curves = {}
    for name, pair in make_pairs(latent=latent, width=width, hidden=hidden).items():
        began = time.monotonic()
        history, clock = train(pair, data, minutes, warm_up, learning_rate)
        wall = (time.monotonic() - began) / 60
        print(f"\n{name}: {len(history.loss)} epochs, {wall:.1f} minutes on the wall clock")
        print(f"  epoch    CPU s       ELBO            log p(x), {num_samples} draws")
        best = measure(pair, x, lengths, num_samples)
        curves[name] = measure_curve(pair, clock, x, lengths, num_samples)
        epoch = max(range(len(history.elbo)), key=history.elbo.__getitem__) + 1
        print(f"best on validation, of epoch {epoch}:\n{write(Point(epoch, 0, *best))}", flush=True)

    compare(curves, floor)
    print(
        f"latent {latent}, width {width}, RNN {hidden}, learning rate {learning_rate}, batches of "
        f"{BATCH}, KL annealed over {warm_up} epochs, {minutes} CPU minutes each, seed 0"
    )
    return curves


def compare(curves: dict[str, list[Point]], floor: float) -> None:
    """Print both pairs at equal time and at equal epochs, and how far ours is on the way."""
    ours, theirs = ({point.epoch: point for point in points} for points in curves.values())
    epoch = max(set(ours) & set(theirs))
    names = list(curves)
    print("\nat equal CPU time")
    print(f"{write(ours[max(ours)])}  {names[0]}\n{write(theirs[max(theirs)])}  {names[1]}")
    print("at equal epochs")
    print(f"{write(ours[epoch])}  {names[0]}\n{write(theirs[epoch])}  {names[1]}")

    way = (ours[max(ours)].elbo.value - floor) / (PUBLISHED - floor)
    print(
        f"the tutorial: ELBO {PUBLISHED} after 5,000 epochs. From independent keys to that, ours "
        f"is {way:.0%} of the way after {max(ours)}."
    )


if __name__ == "__main__":
    if "--short" in sys.argv:
        main(**SHORT)
    else:
        main(*map(float, sys.argv[1:2]))
