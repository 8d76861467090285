"""`pyro-vae train` alone and beside busy processes: with one thread, as it chooses, and with all.

    python benchmarks/busy.py [--rounds 3] [--busy 0 2] [--epochs 300] [--only "one thread" chooses]

Each turn is a process of its own. "As it chooses" is what a person gets who sets nothing.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial

from timing import HEAD, chosen, machine, milliseconds, parser, race, show

COMMAND = [sys.executable, "-m", "pyro_vae", "train"]
OURS = "as it chooses"
THREADS = {"one thread": 1, OURS: None, "all threads": os.cpu_count()}


def train(threads: int | None, epochs: int, _: int) -> float:
    """The seconds of a run, from the start of its process to its end."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory() as folder:
        command = [*COMMAND, "--epochs", str(epochs), "--out", os.path.join(folder, "run")]
        start = time.perf_counter()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return time.perf_counter() - start


@contextlib.contextmanager
def beside(count: int) -> Iterator[None]:
    """Inside this context so many other processes compute."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main(argv: list[str] | None = None) -> dict[str, dict]:
    options = parser(__doc__, rounds=3)
    options.add_argument(
        "--busy",
        nargs="+",
        type=int,
        default=[0, 2],
        help="how many others (default %(default)s)",
    )
    options.add_argument("--epochs", type=int, default=300, help="default %(default)s")
    args = options.parse_args(argv)
    rounds, epochs = (1, 1) if args.short else (args.rounds, args.epochs)

    print(machine())
    tables = {}
    for count in args.busy:
        makers = {
            name: partial(partial, train, threads, epochs) for name, threads in THREADS.items()
        }
        with beside(count):
            found = race(chosen(makers, args.only), ours=OURS, rounds=rounds, rehearse=False)
        tables[count], missing = found
        title = f"pyro-vae train, {epochs} epochs, beside {count} busy; s, {rounds} rounds"
        show(title, HEAD, milliseconds(tables[count], 1.0), missing, args.markdown)
    return tables


if __name__ == "__main__":
    main()
