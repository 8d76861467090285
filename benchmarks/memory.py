"""What `fit` takes until its first batch, beyond the data: memory, and seconds for a gigabyte.

    OMP_NUM_THREADS=2 python benchmarks/memory.py [--megabytes 200] [--only float32 map]

Each case is a process of its own. Memory is what is resident at the peak, without the pages of
files, over the size of the data. Of `load` the data are the three splits. On a machine that has
other work, look at the CPU's seconds on one thread. Linux only.
"""

import json
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from timing import chosen, machine, parser, release_memory, show, worker
from torch import Tensor

import pyro_vae as pv

PIXELS = 784
DiscretisedLogistic = partial(pv.DiscretisedLogistic, levels=256)
HEAD = ["beyond the data / data", "s / GB", "CPU s / GB"]


class FirstBatch(BaseException):
    """The first batch has come."""


class Until(pv.Objective):
    """An objective that ends at its first batch."""

    def forward(self, *batch: Tensor) -> Tensor:
        raise FirstBatch


def scale(x: Tensor) -> Tensor:
    return x.float() / 255


def draw_normal(rows: int) -> Tensor:
    return torch.randn(rows, PIXELS)


def draw_grey(rows: int) -> Tensor:
    return torch.rand(rows, PIXELS)


def draw_bytes(rows: int) -> Tensor:
    return torch.randint(256, (rows, PIXELS), dtype=torch.uint8)


def draw_gaps(rows: int) -> Tensor:
    return torch.rand(rows, PIXELS).masked_fill_(torch.rand(rows, PIXELS) < 0.1, torch.nan)


# of each case: the likelihood, the data, and the transform
CASES: dict[str, tuple[Callable, Callable[[int], Tensor], Callable | None]] = {
    "float32": (pv.Normal, draw_normal, None),
    "float64": (pv.Normal, lambda rows: draw_normal(rows).double(), None),
    "zeros and ones": (pv.Bernoulli, lambda rows: draw_grey(rows).round_(), None),
    "counts": (pv.Poisson, lambda rows: draw_grey(rows).mul_(9).round_(), None),
    "grey, transform": (pv.Bernoulli, draw_grey, torch.bernoulli),
    "uint8, transform": (pv.Normal, draw_bytes, scale),
    "uint8, counts": (pv.Poisson, lambda rows: draw_bytes(rows) // 2, None),
    "256 levels": (DiscretisedLogistic, lambda rows: draw_bytes(rows).float(), None),
    "uint8, 256 levels": (DiscretisedLogistic, draw_bytes, None),
    "missing": (pv.missing, draw_gaps, None),
    "map": (pv.Normal, draw_normal, None),
    "map of uint8": (pv.Normal, draw_bytes, scale),
}
LOADED = {"load .npy": draw_normal, "load .npy of uint8": draw_bytes}


def make_pair(likelihood: Callable) -> pv.VAE:
    is_missing = likelihood is pv.missing
    made = (pv.Normal if is_missing else likelihood)(PIXELS, given=20)
    net = pv.masked(pv.networks.mlp) if is_missing else pv.networks.mlp
    return pv.VAE(
        prior=pv.StandardNormal(20),
        likelihood=pv.missing(made) if is_missing else made,
        variational=pv.Normal(20, given=PIXELS, net=net),
    )


def go_to_first_batch(case: str, x: Tensor | np.ndarray) -> None:
    likelihood, _, transform = CASES[case]
    vae = make_pair(likelihood)
    try:
        pv.fit(vae, x, epochs=1, objective=Until(vae), transform=transform, progress=False)
    except FirstBatch:
        return


def measure(case: str, megabytes: float) -> dict[str, float]:
    """One case, in this process."""
    torch.manual_seed(0)
    draw = LOADED[case] if case in LOADED else CASES[case][1]
    rows = int(megabytes * 2**20) // draw(1).nbytes
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x.npy")
        x: Tensor | np.ndarray | None = draw(rows)
        if case in LOADED or case.startswith("map"):
            np.save(file, x)
            x = None
        return _measure_load(file) if case in LOADED else _measure_fit(case, draw, x, file)


def _measure_fit(case: str, draw: Callable, x: Tensor | None, file: Path) -> dict[str, float]:
    go_to_first_batch(case, draw(10))  # libraries set themselves up
    data = np.load(file, mmap_mode="r") if x is None else x
    return _time(partial(go_to_first_batch, case, data), lambda: data.nbytes)


def _measure_load(file: Path) -> dict[str, float]:
    found: list[pv.data.Dataset] = []

    def count_bytes() -> int:
        return sum(x.nbytes for x in found[0].splits.values())

    row = _time(lambda: found.append(pv.data.load(file)), count_bytes)
    return row | {"share": row["share"] - 1}


def _time(run: Callable[[], object], count_bytes: Callable[[], int]) -> dict[str, float]:
    """The peak beyond what was held before, over the bytes of the data, and the time for a GB."""
    with Anonymous() as memory:
        start, cpu = time.perf_counter(), time.process_time()
        run()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    size = count_bytes()
    return {
        "share": memory.peak / size,
        "seconds": seconds * 2**30 / size,
        "cpu": cpu * 2**30 / size,
    }


class Anonymous:
    """The peak of resident memory in a block, beyond what was held before it, in bytes.

    It is looked at every millisecond, without the pages of files, which the system may let go of.
    """

    def __enter__(self) -> "Anonymous":
        release_memory()
        self.before, self.peak, self.is_done = _read_resident(), 0, threading.Event()
        self.watcher = threading.Thread(target=self._watch)
        self.watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.is_done.set()
        self.watcher.join()

    def _watch(self) -> None:
        while not self.is_done.wait(1e-3):
            self.peak = max(self.peak, _read_resident() - self.before)


def _read_resident() -> int:
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 2**10 if found else 0


def main(argv: list[str] | None = None) -> dict[str, dict[str, float]]:
    options = parser(__doc__, rounds=1)
    options.add_argument("--megabytes", type=float, default=200.0, help="the size of the data")
    args = options.parse_args(argv)
    megabytes = 5.0 if args.short else args.megabytes
    print(machine())

    names = chosen(dict.fromkeys([*CASES, *LOADED], measure), args.only)
    found = {name: worker(__file__, case=name, megabytes=megabytes) for name in names}
    cells = [[name, *(f"{value:.2f}" for value in row.values())] for name, row in found.items()]
    show(f"until the first batch, {megabytes:g} MB", HEAD, cells, {}, args.markdown)
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(measure(**json.loads(sys.argv[2]))))
    else:
        main()
