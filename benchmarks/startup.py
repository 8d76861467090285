"""The import of pyro_vae beside that of its dependencies, of NumPyro and of Pythae.

Each is a process of its own.

    python benchmarks/startup.py [--rounds 15]
"""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from timing import HEAD, Row, Turn, chosen, machine, milliseconds, parser, race, require, show

OURS = "import pyro_vae"
STATEMENTS = (
    "pass",
    "import torch",
    "import torch, pyro",
    "import torch, pyro, torchvision",
    OURS,
    "import numpyro",
    "import pythae.models",
)


def process(statement: str) -> Turn:
    """Python started, the statement run, Python ended."""
    module = statement.split()[-1].split(".")[0]
    if module != "pass":
        require(module)

    def turn(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True)
        return time.perf_counter() - start

    return turn


def contestants() -> dict[str, Callable[[], Turn]]:
    return {statement: partial(process, statement) for statement in STATEMENTS}


def main(argv: list[str] | None = None) -> tuple[dict[str, Row], dict[str, str]]:
    args = parser(__doc__, rounds=15).parse_args(argv)
    rounds = 1 if args.short else args.rounds
    print(machine())
    rows, missing = race(chosen(contestants(), args.only), ours=OURS, rounds=rounds)
    show(
        f"python -c '...'; s, {rounds} rounds",
        HEAD,
        milliseconds(rows, scale=1),
        missing,
        args.markdown,
    )
    return rows, missing


if __name__ == "__main__":
    main()
