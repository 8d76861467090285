"""Time and peak memory of training against rows of data, latents, k of the bound, and batch.

    python benchmarks/scaling.py [--rounds 3] [--rows 1000 10000 100000 1000000]
        [--figure scaling.png] [--eager]

The network is 784-400-20 on zeros and ones, at batch 128, compiled unless `--eager`. Against the
rows it times the second of two epochs of `fit`, else a step. Every turn is a process of its own.
Its peak memory is what it takes beyond the imports: the network, the data (3.1 kB a row), and what
the compiler left in memory. For `fit` it includes what the compiler took in passing.
"""

import argparse
import json
import statistics
from functools import partial

import torch
from rivals import EVENT, LEARNING_RATE, SHAPES, binary, our_objective, ours
from timing import Peak, chosen, machine, parser, race, seconds, show, worker

import pyro_vae as pv
from pyro_vae.weights.traces import unvalidated

BASE = SHAPES["mlp"]
VALUES = {
    "rows": (1_000, 10_000, 100_000, 1_000_000),
    "latent": (2, 10, 50, 200),
    "k": (1, 5, 20, 50),
    "batch": (20, 128, 512, 2048),
}


def measure(axis: str, value: int, compiled: bool, steps: int, device: str) -> dict:
    """One turn, in this process: the seconds of a step, of an epoch, and the peak memory in MB."""
    torch.manual_seed(0)
    with Peak(device) as peak:
        found = (
            epoch(value, compiled, device)
            if axis == "rows"
            else step(axis, value, compiled, steps, device, peak)
        )
    return found | {"peak": peak.megabytes}


def epoch(rows: int, compiled: bool, device: str) -> dict:
    x = torch.cat([binary(min(10_000, rows), *EVENT)] * -(-rows // 10_000))[:rows]
    vae = ours(BASE).to(device)
    history = pv.fit(
        vae,
        x,
        epochs=2,
        batch_size=BASE.batch,
        learning_rate=LEARNING_RATE,
        compile=compiled,
        progress=False,
    )
    return {"epoch": history.seconds[1], "step": history.seconds[1] / -(-rows // BASE.batch)}


def step(axis: str, value: int, compiled: bool, steps: int, device: str, peak: Peak) -> dict:
    shape = BASE._replace(**{axis: value})
    objective = our_objective(shape, ours(shape).to(device))
    if compiled:
        objective.compile()
    optimizer = torch.optim.Adam(objective.parameters(), lr=LEARNING_RATE, fused=True)
    x = binary(shape.batch, *EVENT, device=device)

    def turn(_: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        objective(x).backward()
        optimizer.step()

    with unvalidated():
        for _ in range(3):
            turn(1)
        peak.forget()
        return {
            "step": statistics.median(seconds(turn, 1, device) for _ in range(steps)),
            "epoch": None,
        }


def turns(found: dict, name: str, **options: object):
    def turn(_: int) -> float:
        found.setdefault(name, []).append(worker(__file__, **options))
        return found[name][-1]["step"]

    return turn


def cells(table: dict, axis: str) -> list[list[str]]:
    """The row of a value: milliseconds a step, an example, seconds an epoch, MB."""
    rows = []
    for value, (row, epochs, peak) in table.items():
        batch = value if axis == "batch" else BASE.batch
        times = [f"{1e3 * row.minimum:.4g}", f"{1e3 * row.quartile:.4g}", f"{1e3 * row.median:.4g}"]
        rows.append(
            [
                f"{axis} = {value:,}",
                *times,
                f"{1e6 * row.median / batch:.4g}",
                epochs,
                f"{peak:.0f}",
            ]
        )
    return rows


def draw(tables: dict, path: str) -> None:
    """One figure: the time of a step above, the peak memory below, a column for what is varied."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        2, len(tables), figsize=(3 * len(tables), 5), squeeze=False, layout="constrained"
    )
    for column, (axis, table) in zip(axes.T, tables.items(), strict=True):
        column[0].loglog(list(table), [1e3 * row.median for row, _, _ in table.values()], "o-")
        column[1].loglog(list(table), [max(1, peak) for _, _, peak in table.values()], "o-")
        column[1].set_xlabel(axis)
    axes[0, 0].set_ylabel("ms a step")
    axes[1, 0].set_ylabel("peak memory, MB")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(argv: list[str] | None = None) -> dict[str, dict]:
    options = parser(__doc__, rounds=3)
    options.add_argument(
        "--rows",
        nargs="+",
        type=int,
        default=VALUES["rows"],
        help="of the data (default %(default)s)",
    )
    options.add_argument(
        "--steps", type=int, default=50, help="steps that a median is over (default %(default)s)"
    )
    options.add_argument("--figure", metavar="PATH", help="write a figure there")
    options.add_argument("--eager", action="store_true", help="without compiling")
    options.add_argument("--worker", help=argparse.SUPPRESS)
    args = options.parse_args(argv)
    if args.worker:
        print(json.dumps(measure(**json.loads(args.worker))))
        return {}

    rounds, values = args.rounds, VALUES | {"rows": args.rows}
    if args.short:
        rounds, values = 1, {"rows": [256], "latent": [2], "k": [1, 5], "batch": [20]}
    how = {
        "compiled": not args.eager,
        "steps": 3 if args.short else args.steps,
        "device": args.device,
    }

    print(machine(args.device))
    tables = {}
    for axis in chosen(values, args.only):
        found: dict[int, list[dict]] = {}
        makers = {v: partial(turns, found, v, axis=axis, value=v, **how) for v in values[axis]}
        rows, missing = race(
            makers, ours=values[axis][0], rounds=rounds, rehearse=False, device=args.device
        )
        tables[axis] = {}
        for v, row in rows.items():
            epochs = [run["epoch"] for run in found[v]]
            median = "" if None in epochs else f"{statistics.median(epochs):.4g}"
            tables[axis][v] = row, median, statistics.median(run["peak"] for run in found[v])
        head = ["ms a step: minimum", "quartile", "median", "µs a row", "s an epoch", "peak MB"]
        show(f"{axis}; {rounds} rounds", head, cells(tables[axis], axis), missing, args.markdown)
    if args.figure:
        draw(tables, args.figure)
    return tables


if __name__ == "__main__":
    main()
