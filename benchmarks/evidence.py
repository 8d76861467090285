"""log p(x) by L_5000 and by AIS, gaps and latents: images a second, and peak memory.

    python benchmarks/evidence.py [--rounds 3] [--images 1000] [--annealed 100] [--device cuda]
    python benchmarks/evidence.py --tables AIS --only floor ours  # one of the tables

L_5000 is of 1,000 images. AIS has 16 chains x 100 steps and is of 100 images. The network is that
of Burda et al., 784-200-200-50, with its weights as they were initialised. Compiled rows have
compiled once before they are timed, and compile anew from torch's cache. Of the gaps the steps of
Adam are timed alone, for the weights as they were initialised need few.

The floor is the matrix products of the decoder alone, in pieces of the size that suits them best.
For L_5000 they are for each draw. For AIS they are forward and back to z, at each leapfrog step of
the run and of its pilot. Shares are of the faster floor. Every turn is a process of its own. Peak
memory is what it takes beyond the model and the data.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable
from functools import partial

import torch
from rivals import EVENT, PIXELS, SHAPES, binary, onednn, ours, pythae_vae, through_onednn
from timing import (
    Peak,
    Row,
    Turn,
    chosen,
    machine,
    parser,
    race,
    require,
    restrict,
    seconds,
    show,
    synchronise,
    worker,
)
from torch import Tensor

import pyro_vae as pv
from pyro_vae.diagnostics.local import OwnFamily
from pyro_vae.diagnostics.refit import Search
from pyro_vae.progress import progress_bar
from pyro_vae.weights.traces import quietly

SHAPE = SHAPES["iwae"]
LEAPFROG = 10
PIECES = (250, 500, 1000, 2000, 5000, 10_000, 20_000)
RIVAL_BATCHES = (100, 500, 1000, 5000)


def products(rows: int, backward: bool, library: str, device: str) -> Callable[[], None]:
    """The decoder's matrix products for so many rows, forward, and back to z."""
    widths = (SHAPE.latent, *reversed(SHAPE.hidden), PIXELS)
    x = [torch.randn(rows, width, device=device) for width in widths]
    w = [torch.randn(b, a, device=device) for a, b in itertools.pairwise(widths)]

    def run() -> None:
        for i in range(len(w)):
            through_onednn(x[i], w[i]) if library == "onednn" else torch.mm(
                x[i], w[i].T, out=x[i + 1]
            )
        for i in reversed(range(len(w) if backward else 0)):
            through_onednn(x[i + 1], w[i].T) if library == "onednn" else torch.mm(
                x[i + 1], w[i], out=x[i]
            )

    return run


def floor(
    rows: int, evaluations: int, backward: bool, library: str, device: str
) -> Callable[[], None]:
    """Products of `rows` rows, `evaluations` times, in the pieces that were fastest when tried."""
    cost = {}
    for piece in sorted({min(rows, piece) for piece in PIECES}):
        run = products(piece, backward, library, device)
        cost[piece] = min(seconds(lambda _, run=run: run(), 1, device) for _ in range(3)) / piece
    best = min(cost, key=cost.get)
    whole, rest = (
        products(best, backward, library, device),
        products(rows % best, backward, library, device),
    )

    def run() -> None:
        for _ in range(evaluations):
            for _ in range(rows // best):
                whole()
            if rows % best:
                rest()

    return run


def get_nll(x: Tensor, draws: int, device: str) -> Callable[[], float]:
    """pythae, `VAE.get_nll`, without gradients, at the batch size that was fastest when tried."""
    model = pythae_vae(SHAPE).to(device)
    model.eval()

    @torch.no_grad()
    def run(x: Tensor, size: int) -> None:
        model.get_nll(x, n_samples=draws, batch_size=size)

    sizes = [size for size in RIVAL_BATCHES if size <= draws] or [draws]
    cost = {size: seconds(lambda _, size=size: run(x[:1], size), 1, device) for size in sizes}
    return partial(run, x, min(cost, key=cost.get))


def prepared(what: str, images: int, draws: int, steps: int, device: str) -> Callable[[], object]:
    """What is to be measured, tuned and warm."""
    x = binary(images, *EVENT, device=device)
    rows, evaluations = images * draws, 2 * (1 + steps * LEAPFROG)
    if what in ("mm", "onednn"):
        return floor(rows, 1, False, what, device)
    if what in ("annealed mm", "annealed onednn"):
        return floor(rows, evaluations, True, what.split()[1], device)
    if what == "pythae":
        return get_nll(x, draws, device)

    vae = ours(SHAPE).to(device)
    pv.diagnostics.log_evidence(vae, x[:1], num_samples=10, progress=False)
    if what in ("ours", "compiled"):
        options = {"num_samples": draws, "compile": what == "compiled", "progress": False}
        return partial(pv.diagnostics.log_evidence, vae, x, **options)
    if what == "latents":
        return partial(pv.diagnostics.latents, vae, x, num_samples=draws, progress=False)
    if what.startswith("gaps"):
        return ascending(vae, x, draws, steps, "compiled" in what)
    chains = {"num_chains": draws, "num_leapfrog": LEAPFROG, "progress": False}
    chains["compile"] = "compiled" in what
    anneal = partial(pv.diagnostics.annealed_log_evidence, vae, x, **chains)
    if chains["compile"]:
        anneal(num_steps=1)
    return partial(anneal, num_steps=steps)


def ascending(vae: pv.VAE, x: Tensor, draws: int, steps: int, compile: bool) -> Callable[[], None]:
    """The steps of Adam of `inference_gaps`, warm."""
    search = Search(None, steps, draws, 0.1, compile=compile)
    bar, pace = progress_bar(1, "refitting", show=False), torch.ones(len(x), device=x.device)
    with quietly(vae):
        q = OwnFamily(vae, (x,))
    density = search._make_density(q, vae, (x,))

    def run(count: int) -> None:
        with quietly(vae):
            search._ascend(q, density, count, pace, bar)

    run(1)
    return partial(run, steps)


def measure(what: str, images: int, draws: int, steps: int, device: str) -> dict:
    """One turn, in this process: its seconds and its peak memory in MB."""
    torch.manual_seed(0)
    run = prepared(what, images, draws, steps, device)
    with Peak(device) as peak:
        start = time.perf_counter()
        run()
        synchronise(device)
        took = time.perf_counter() - start
    return {"seconds": took, "images": images, "peak": peak.megabytes}


def turns(peaks: dict, name: str, **options: object) -> Turn:
    """A contestant whose step is an image."""
    if options["what"] == "pythae":
        require("pythae")

    def turn(steps: int) -> float:
        found = worker(__file__, **options)
        peaks.setdefault(name, []).append(found["peak"])
        return steps * found["seconds"] / found["images"]

    return turn


def report(title: str, rows: dict[str, Row], missing: dict, peaks: dict, markdown: bool) -> None:
    head = [
        "s an image: minimum",
        "quartile",
        "median",
        "images / s",
        "ours / it",
        "share of the floor",
        "peak MB",
    ]
    lowest = min(
        (row.median for name, row in rows.items() if name.startswith("floor")), default=None
    )
    cells = []
    for name, row in rows.items():
        share = f"{lowest / row.median:.3f}" if lowest else ""
        times = [f"{value:.4g}" for value in row[:3]]
        cells.append(
            [
                name,
                *times,
                f"{1 / row.median:.4g}",
                f"{row.ratio:.3f}",
                share,
                f"{max(peaks[name]):.0f}",
            ]
        )
    show(title, head, cells, missing, markdown)


def main(argv: list[str] | None = None) -> dict[str, tuple[dict[str, Row], dict[str, str]]]:
    options = parser(__doc__, rounds=3)
    options.add_argument("--images", type=int, default=1000, help="of L_5000 (default %(default)s)")
    options.add_argument(
        "--annealed", type=int, default=100, help="images annealed (default %(default)s)"
    )
    options.add_argument(
        "--nll", type=int, default=20, help="images of Pythae's get_nll (default %(default)s)"
    )
    options.add_argument(
        "--tables",
        nargs="+",
        metavar="WORD",
        default=[],
        help="of L_5000, AIS, Gaps, Latents and memory, those that are made (default all)",
    )
    options.add_argument("--worker", help=argparse.SUPPRESS)
    args = options.parse_args(argv)
    restrict(args.isa)
    if args.worker:
        print(json.dumps(measure(**json.loads(args.worker))))
        return {}

    images, few, annealed, draws, steps, chains = (
        args.images,
        args.nll,
        args.annealed,
        5000,
        100,
        16,
    )
    rounds, flat, many = args.rounds, (500, 5000, 50_000), (500, 1000, 2000, 4000)
    if args.short:
        images, few, annealed, draws, steps, chains, rounds, flat = 3, 1, 2, 50, 2, 2, 1, (5, 50)
        many = (5, 10)

    print(machine(args.device))
    libraries = {"torch.mm": "mm"} | (
        {"oneDNN": "onednn"} if args.device == "cpu" and onednn() else {}
    )
    floors = {f"floor: {name}": library for name, library in libraries.items()}
    weighted = {
        **{
            name: {"what": library, "images": images, "draws": draws}
            for name, library in floors.items()
        },
        "ours": {"what": "ours", "images": images, "draws": draws},
        "ours, compiled": {"what": "compiled", "images": images, "draws": draws},
        "Pythae, get_nll": {"what": "pythae", "images": few, "draws": draws},
    }
    chained = {
        **{
            name: {"what": f"annealed {key}", "images": annealed, "draws": chains}
            for name, key in floors.items()
        },
        "ours": {"what": "annealing", "images": annealed, "draws": chains},
        "ours, compiled": {"what": "annealing compiled", "images": annealed, "draws": chains},
    }
    refitted = {
        "ours": {"what": "gaps", "images": annealed, "draws": chains},
        "ours, compiled": {"what": "gaps compiled", "images": annealed, "draws": chains},
    }
    aggregated = {f"ours, N = {n}": {"what": "latents", "images": n, "draws": 10} for n in many}
    memory = {
        f"ours, k = {k}": {"what": "ours", "images": min(images, 100), "draws": k} for k in flat
    }
    found, tables = {}, {word.lower() for word in args.tables}
    for title, table, reference in (
        (f"L_{draws}, {images} images (Pythae {few})", weighted, "ours, compiled"),
        (
            f"AIS, {chains} chains x {steps} steps x {LEAPFROG} leapfrog steps, {annealed} images",
            chained,
            "ours, compiled",
        ),
        (f"Gaps, {chains} draws x {steps} steps, {annealed} images", refitted, "ours, compiled"),
        ("Latents, 10 draws", aggregated, f"ours, N = {many[0]}"),
        (f"memory against k, {min(images, 100)} images", memory, f"ours, k = {flat[0]}"),
    ):
        if args.tables and title.split()[0].strip(",").lower() not in tables:
            continue
        peaks: dict[str, list[float]] = {}
        common = {"steps": steps, "device": args.device}
        makers = {
            name: partial(turns, peaks, name, **(common | row)) for name, row in table.items()
        }
        makers = chosen(makers, args.only)
        rows, missing = race(
            makers, ours=reference, rounds=rounds, rehearse=False, device=args.device
        )
        report(f"{title}; {rounds} rounds", rows, missing, peaks, args.markdown)
        found[title.split(",")[0]] = rows, missing
    return found


if __name__ == "__main__":
    main()
