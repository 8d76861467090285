"""Time and peak memory of training against rows of data, latents, k of the bound, and batch.

    python benchmarks/scaling.py [--only rows] [--kept cost.json] [--figure cost.png] [--eager]

The network is 784-400-20 on zeros and ones, at batch 128, compiled unless `--eager`. Against the
rows it times the second of two epochs of `fit`, else a step. Every turn is a process of its own.
Its peak memory is what it takes beyond the imports: the network, the data (3.1 kB a row), and what
the compiler left in memory. For `fit` it includes what the compiler took in passing.

All of it takes some ten minutes. With `--kept` it may be run curve by curve, and the figure has all
that the file has. With `--cpu` it is processor time, for a machine that has other work.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rivals import EVENT, LEARNING_RATE, SHAPES, binary, our_objective, ours
from timing import Peak, chosen, machine, parser, race, show, synchronise, worker

import pyro_vae as pv
from pyro_vae.look.style import use_house_style
from pyro_vae.weights.traces import unvalidated

BASE = SHAPES["mlp"]
VALUES = {
    "rows": (1_000, 10_000, 100_000, 300_000),
    "latent": (2, 10, 50, 200),
    "k": (1, 5, 20, 50),
    "batch": (20, 128, 512, 2048),
}
NAMES = {
    "rows": "rows of data",
    "latent": "dimensions of z",
    "k": "draws of the bound, k",
    "batch": "rows of a batch",
}


def measure(axis: str, value: int, compiled: bool, steps: int, device: str, cpu: bool) -> dict:
    """One turn, in this process: the seconds of a step, of an epoch, and the peak memory in MB."""
    torch.manual_seed(0)
    clock = time.process_time if cpu else time.perf_counter
    with Peak(device) as peak:
        found = (
            epoch(value, compiled, device, clock)
            if axis == "rows"
            else step(axis, value, compiled, steps, device, peak, clock)
        )
    return found | {"peak": peak.megabytes}


def epoch(rows: int, compiled: bool, device: str, clock: Callable[[], float]) -> dict:
    x = torch.cat([binary(min(10_000, rows), *EVENT)] * -(-rows // 10_000))[:rows]
    vae = ours(BASE).to(device)
    ends: list[float] = []
    pv.fit(
        vae,
        x,
        epochs=2,
        batch_size=BASE.batch,
        learning_rate=LEARNING_RATE,
        compile=compiled,
        progress=False,
        callback=lambda _: ends.append(clock()),
    )
    second = ends[1] - ends[0]
    return {"epoch": second, "step": second / -(-rows // BASE.batch)}


def step(
    axis: str,
    value: int,
    compiled: bool,
    steps: int,
    device: str,
    peak: Peak,
    clock: Callable[[], float],
) -> dict:
    shape = BASE._replace(**{axis: value})
    objective = our_objective(shape, ours(shape).to(device))
    if compiled:
        objective.compile()
    optimizer = torch.optim.Adam(objective.parameters(), lr=LEARNING_RATE, fused=True)
    x = binary(shape.batch, *EVENT, device=device)

    def turn() -> float:
        start = clock()
        objective.set_gradients(x)
        optimizer.step()
        synchronise(device)
        return clock() - start

    with unvalidated():
        for _ in range(3):
            turn()
        peak.forget()
        return {"step": statistics.median(turn() for _ in range(steps)), "epoch": None}


def turns(found: dict, name: str, **options: object):
    def turn(_: int) -> float:
        found.setdefault(name, []).append(worker(__file__, **options))
        return found[name][-1]["step"]

    return turn


def cells(table: dict, axis: str) -> list[list[str]]:
    """The row of a value: milliseconds a step, microseconds a row, seconds an epoch, MB."""
    rows = []
    for value, found in table.items():
        batch = int(value) if axis == "batch" else BASE.batch
        numbers = [1e3 * found["median"], 1e6 * found["median"] / batch]
        last = "" if found["epoch"] is None else f"{found['epoch']:.4g}"
        written = [f"{number:.4g}" for number in numbers]
        rows.append([f"{axis} = {int(value):,}", *written, last, f"{found['peak']:.0f}"])
    return rows


@use_house_style()
def draw(tables: dict, path: str) -> None:
    """One figure: the time of a step above, the peak memory below, a column for what is varied."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        2, len(tables), figsize=(8, 4), squeeze=False, sharey="row", layout="constrained"
    )
    for column, (axis, table) in zip(axes.T, tables.items(), strict=True):
        values, found = [int(value) for value in table], table.values()
        column[0].loglog(values, [1e3 * row["median"] for row in found], "o-")
        column[1].loglog(values, [max(1, row["peak"]) for row in found], "o-")
        column[1].set_xlabel(NAMES[axis])
    axes[0, 0].set_ylabel("ms a step")
    axes[1, 0].set_ylabel("peak memory, MB")
    figure.savefig(path)
    plt.close(figure)


def join(path: Path, tables: dict) -> dict:
    """What the file has, with these tables in the place of its own. It is written back."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept |= tables
    path.write_text(json.dumps(kept, indent=1))
    return {axis: kept[axis] for axis in VALUES if axis in kept}


def main(argv: list[str] | None = None) -> dict[str, dict]:
    options = parser(__doc__, rounds=1)
    options.add_argument(
        "--rows",
        nargs="+",
        type=int,
        default=VALUES["rows"],
        help="of the data (default %(default)s)",
    )
    options.add_argument(
        "--steps", type=int, default=30, help="steps that a median is over (default %(default)s)"
    )
    options.add_argument("--kept", metavar="PATH", type=Path, help="a file that joins the curves")
    options.add_argument("--figure", metavar="PATH", help="write a figure there")
    options.add_argument("--eager", action="store_true", help="without compiling")
    options.add_argument("--cpu", action="store_true", help="processor time, on one thread")
    options.add_argument("--worker", help=argparse.SUPPRESS)
    args = options.parse_args(argv)
    if args.worker:
        asked = json.loads(args.worker)
        if asked["cpu"]:
            torch.set_num_threads(1)
        print(json.dumps(measure(**asked)))
        return {}

    rounds, values = args.rounds, VALUES | {"rows": args.rows}
    if args.short:
        rounds, values = 1, {"rows": [256], "latent": [2], "k": [1, 5], "batch": [20]}
    how = {
        "compiled": not args.eager,
        "steps": 3 if args.short else args.steps,
        "device": args.device,
        "cpu": args.cpu,
    }

    print(machine(args.device))
    tables = {}
    for axis in chosen(values, args.only):
        tables[axis] = measure_all(axis, values[axis], rounds, how)
    if args.kept:
        tables = join(args.kept, tables)
    head = ["ms a step", "µs a row", "s an epoch", "peak MB"]
    for axis, table in tables.items():
        show(f"{NAMES[axis]}; {rounds} rounds", head, cells(table, axis), {}, args.markdown)
    if args.figure:
        draw(tables, args.figure)
    return tables


def measure_all(axis: str, values: list[int], rounds: int, how: dict) -> dict[str, dict]:
    """By value, as a word: the seconds of a step, an epoch, and the peak memory."""
    found: dict[int, list[dict]] = {}
    makers = {v: partial(turns, found, v, axis=axis, value=v, **how) for v in values}
    rows, _ = race(makers, ours=values[0], rounds=rounds, rehearse=False, device=how["device"])
    table = {}
    for value, row in rows.items():
        epochs = [run["epoch"] for run in found[value] if run["epoch"] is not None]
        table[str(value)] = {
            "median": row.median,
            "epoch": statistics.median(epochs) if epochs else None,
            "peak": statistics.median(run["peak"] for run in found[value]),
        }
    return table


if __name__ == "__main__":
    main()
