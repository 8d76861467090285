"""Steps of two processes beside those of one, and what a step is made of.

    OMP_NUM_THREADS=1 python benchmarks/processes.py [--rounds 5] [--batches 128 1024]

The network is 784-1000-1000-50 on zeros and ones, with Adam, over gloo on this machine. In each
round the first process takes steps on whole batches while the other waits, and then both take
steps on the same batches, half the rows each. The second table has the parts of a step from which
the cost for more processes follows, see docs/scale.md.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta

import torch
from timing import Peak, machine, parser, show
from torch import distributed, multiprocessing

import pyro_vae as pv
from pyro_vae.processes import find_rank
from pyro_vae.training.batches import InMemory
from pyro_vae.training.shares import SharedStep
from pyro_vae.training.steps import Step
from pyro_vae.weights.traces import unvalidated

CPU = torch.device("cpu")
COUNT = 2
HIDDEN, LATENT = (1000, 1000), 50


def build(hidden: tuple[int, ...], latent: int) -> pv.VAE:
    def net(inputs: int, outputs: int) -> torch.nn.Module:
        return pv.networks.mlp(inputs, outputs, hidden=hidden)

    torch.manual_seed(0)
    return pv.VAE(
        prior=pv.StandardNormal(latent),
        likelihood=pv.Bernoulli(784, given=latent, net=net),
        variational=pv.Normal(latent, given=784, net=net),
    )


def measure(batch: int, rounds: int, steps: int, hidden: tuple[int, ...], latent: int) -> dict:
    """Seconds of the parts of a step, medians over the rounds, and of each whole step."""
    whole, shared = Contestant(batch, hidden, latent), Contestant(batch, hidden, latent, True)
    parameters = sum(p.numel() for p in shared.pair.parameters())
    gradients, few = torch.zeros(parameters), torch.zeros(2, dtype=torch.float64)
    parts: dict[str, Callable[[], object]] = {
        "together": shared.step,
        "share alone": shared.step_alone,
        "all-reduce of the gradients": lambda: distributed.all_reduce(gradients),
        "all-reduce of two numbers": lambda: distributed.all_reduce(few),
        "own draws and order": shared.gather,
    }

    found: dict[str, list[tuple[float, float]]] = {"alone": [], **{name: [] for name in parts}}
    for _ in range(rounds):
        distributed.monitored_barrier(timeout=timedelta(hours=1))
        if find_rank() == 0:
            found["alone"].append(seconds(whole.step, steps))
        distributed.monitored_barrier(timeout=timedelta(hours=1))
        for name, part in parts.items():
            distributed.barrier()
            found[name].append(seconds(part, steps))
    return {
        "seconds": found,
        "parameters": parameters,
        "memory": {"alone": whole.megabytes, "together": shared.megabytes},
    }


class Contestant:
    """A pair that takes steps: on whole batches, or on a share of each."""

    def __init__(self, batch: int, hidden: tuple[int, ...], latent: int, is_shared: bool = False):
        self.pair = build(hidden, latent)
        objective = pv.Objective(self.pair)
        optimizer = torch.optim.Adam(self.pair.parameters(), lr=1e-4, fused=True)
        x = torch.rand(batch, 784, generator=torch.Generator().manual_seed(0)).round()
        self.batches = InMemory(self.pair, (x,), CPU, None, batch)

        self.alone = Step(objective, optimizer, None, ignore)
        self.take = self.alone
        with Peak() as peak:
            if is_shared:
                noise = self.batches.noise
                self.take = SharedStep(objective, optimizer, None, ignore, noise, False)
            for _ in range(3 if is_shared or find_rank() == 0 else 0):
                self.take(self.gather() if is_shared else (x,))
        self.whole = (x,)
        self.share = next(iter(self.batches)) if is_shared else (x,)
        self.megabytes = peak.megabytes

    def gather(self) -> tuple:
        """The share of the next batch."""
        return next(iter(self.batches))

    def step(self) -> None:
        self.take(self.share)

    def step_alone(self) -> None:
        """A step on the share, without the other processes."""
        self.alone(self.share)


def ignore(*arguments: object) -> None:
    """No check of a loss."""


def seconds(turn: Callable[[], object], steps: int) -> tuple[float, float]:
    """Seconds of a turn by the clock, and of the processor in this process."""
    clock, processor = time.perf_counter(), time.process_time()
    with unvalidated():
        for _ in range(steps):
            turn()
    return (time.perf_counter() - clock) / steps, (time.process_time() - processor) / steps


def work(rank: int, store: str, options: dict) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=COUNT)
    found = {batch: measure(batch, **options["each"]) for batch in options["batches"]}
    if rank == 0:
        torch.save(found, options["path"])
    distributed.barrier()
    distributed.destroy_process_group()


def main(argv: list[str] | None = None) -> dict:
    options = parser(__doc__, rounds=5)
    options.add_argument("--batches", type=int, nargs="+", default=[128, 1024])
    options.add_argument("--steps", type=int, default=10, help="steps in a turn")
    chosen = options.parse_args(argv)
    each = {"rounds": chosen.rounds, "steps": chosen.steps, "hidden": HIDDEN, "latent": LATENT}
    if chosen.short:
        chosen.batches, each = [8], {"rounds": 1, "steps": 1, "hidden": (8,), "latent": 2}

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "found.pt")
        spoken = {"batches": chosen.batches, "each": each, "path": path}
        multiprocessing.spawn(work, (os.path.join(folder, "store"), spoken), nprocs=COUNT)
        found = torch.load(path, weights_only=False)

    print(machine(), f", load {os.getloadavg()[0]:.1f}", sep="")
    for batch, measured in found.items():
        report(batch, measured, chosen.markdown)
    return found


def report(batch: int, measured: dict, markdown: bool) -> None:
    columns = {name: list(zip(*pairs, strict=True)) for name, pairs in measured["seconds"].items()}
    clock, processor = (
        [a / b for a, b in zip(columns["alone"][i], columns["together"][i], strict=True)]
        for i in range(2)
    )
    megabytes = 4e-6 * measured["parameters"]
    rate = 1e-3 * megabytes / min(columns["all-reduce of the gradients"][0])
    cells = [
        [name, *(f"{1e3 * number:.3g}" for number in (min(c), statistics.median(c), min(p)))]
        for name, (c, p) in columns.items()
    ]
    head = ["minimum", "median", "of the processor"]
    show(f"batch {batch}; ms a step in the first process", head, cells, {}, markdown)
    print(
        f"\nsteps a second, two processes / one, in the same round: median "
        f"{statistics.median(clock):.2f}, from {min(clock):.2f} to {max(clock):.2f}; by seconds of "
        f"the processor, {statistics.median(processor):.2f}"
        f"\n{measured['parameters']} parameters, {megabytes:.1f} MB of gradients a step at "
        f"{rate:.2f} GB/s"
        f"\nmemory that the first steps take, MB: alone {measured['memory']['alone']:.0f}, "
        f"together {measured['memory']['together']:.0f}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
