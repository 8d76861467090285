"""Contestants timed in turn. Each round has all of them in a new order, so that noise is fair."""

import argparse
import contextlib
import ctypes
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

# who measures says how many threads there are, so that fit and measurements choose none themselves
os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))

Turn = Callable[[int], float | None]
VERSIONS = ("torch", "pyro-ppl", "numpyro", "jax", "pythae")
LIMITS = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    }
}


class Row(NamedTuple):
    """What a contestant took, in seconds a step.

    Attributes:
        minimum, quartile, median: Over the rounds.
        ratio: The median over the rounds of ours divided by it, in the same round.
        first: Building it and the first step, compiling included.
    """

    minimum: float
    quartile: float
    median: float
    ratio: float
    first: float


def race(
    makers: Mapping[str, Callable[[], Turn]],
    *,
    ours: str,
    rounds: int,
    steps: int = 1,
    warm: int = 0,
    rehearse: bool = True,
    device: str = "cpu",
) -> tuple[dict[str, Row], dict[str, str]]:
    """Time the contestants against each other.

    Arguments:
        makers: By name, a function that builds a contestant. A contestant is a callable that takes
            so many steps, and may return the seconds itself. One that raises `ImportError` is left
            out.
        ours: The name of the contestant that all are compared with.
        rounds: How many times each has its turn.
        steps: Steps in a turn.
        warm: Steps before each turn that are not timed.
        rehearse: Take a first step before the rounds. A contestant that is a process of its own
            needs none.
        device: Where they run.

    Returns:
        The rows, and why the others are left out.

    Example:
        >>> rows, missing = race({"a": lambda: lambda steps: 1.0 * steps}, ours="a", rounds=3)
        >>> rows["a"].median, rows["a"].ratio, missing
        (1.0, 1.0, {})
    """
    turns, first, missing = {}, {}, {}
    for name, make in makers.items():
        try:
            start, turn = time.perf_counter(), make()
            if rehearse:
                turn(1)
                synchronise(device)
            first[name] = time.perf_counter() - start
        except ImportError as error:
            missing[name] = f"not installed ({(error.name or str(error)).split('.')[0]})"
        else:
            turns[name] = turn

    times: dict[str, list[float]] = {name: [] for name in turns}
    order = list(turns)
    for _ in range(rounds):
        for name in order:
            if warm:
                turns[name](warm)
            times[name].append(seconds(turns[name], steps, device) / steps)
        order = order[1:] + order[:1]

    reference = times.get(ours)
    rows = {}
    for name, column in times.items():
        paired = (
            [a / b for a, b in zip(reference, column, strict=True)] if reference else [float("nan")]
        )
        quartile = (
            statistics.quantiles(column, n=4, method="inclusive")[0] if rounds > 1 else column[0]
        )
        rows[name] = Row(
            min(column), quartile, statistics.median(column), statistics.median(paired), first[name]
        )
    return rows, missing


def seconds(turn: Turn, steps: int, device: str) -> float:
    """The seconds of a turn, with all that it started on the device done."""
    synchronise(device)
    start = time.perf_counter()
    own = turn(steps)
    synchronise(device)
    return time.perf_counter() - start if own is None else own


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def milliseconds(rows: Mapping[str, Row], scale: float = 1e3) -> list[list[str]]:
    """The cells of a table of rows, under `HEAD`."""
    return [
        [
            name,
            *(f"{scale * value:.4g}" for value in row[:3]),
            f"{row.ratio:.3f}",
            f"{row.first:.2f}",
        ]
        for name, row in rows.items()
    ]


HEAD = ["minimum", "quartile", "median", "ours / it", "first call, s"]


def show(
    title: str,
    head: Sequence[str],
    cells: Sequence[Sequence[str]],
    missing: Mapping[str, str],
    markdown: bool,
):
    """Print a table of words and then numbers, and below it who is missing."""
    table = [["", *head], *cells]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        for row in table
    ]
    print(f"\n{title}\n")
    if markdown:
        rule = ["---", *("---:" for _ in head)]
        print("\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]]))
    else:
        print("\n".join("  ".join(line) for line in lines))
    for name, why in missing.items():
        print(f"{name}: {why}")


def parser(doc: str, *, rounds: int) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    found = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument(
        "--rounds", type=int, default=rounds, help="turns of each contestant (default %(default)s)"
    )
    found.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    found.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="contestants whose names contain these",
    )
    found.add_argument(
        "--short",
        action="store_true",
        help="a tiny run that shows that it works and measures nothing",
    )
    found.add_argument(
        "--isa",
        choices=LIMITS,
        help="the most that libraries may use of the processor's instruction set",
    )
    found.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    return found


def restrict(isa: str | None) -> None:
    """Start the script anew where libraries are to use less of the processor than they do."""
    limits = LIMITS[isa] if isa else {}
    if limits.items() <= os.environ.items():
        return
    os.environ.update(limits)
    os.execv(sys.executable, [sys.executable, *sys.argv])


def chosen(makers: Mapping[str, Callable], only: Sequence[str]) -> dict[str, Callable]:
    """The contestants that `--only` names, or all."""
    found = {
        name: make
        for name, make in makers.items()
        if not only or any(part in str(name) for part in only)
    }
    if not found:
        print(f"\n--only: {' '.join(only)} is in none of {', '.join(map(str, makers))}")
    return found


def machine(device: str = "cpu") -> str:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        named = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        cpu = named[1] if named else cpu
    parts = [
        f"{cpu} ({torch.backends.cpu.get_cpu_capability()})",
        f"{os.cpu_count()} cores",
        f"{torch.get_num_threads()} threads",
        f"Python {platform.python_version()}",
    ]
    for name in VERSIONS:
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    if device == "cuda":
        parts.insert(0, torch.cuda.get_device_name())
    return ", ".join(parts)


def worker(script: str, **options: object) -> dict:
    """Run `python script --worker JSON` as a process, and read the JSON that it prints last.

    Raises:
        RuntimeError: if it fails.
    """
    done = subprocess.run(
        [sys.executable, script, "--worker", json.dumps(options)], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{Path(script).name} with {options} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def require(package: str) -> None:
    """Raise `ImportError` unless a package is installed, without importing it."""
    if importlib.util.find_spec(package) is None:
        raise ImportError(f"No module named {package!r}", name=package)


def release_memory() -> None:
    """Give memory that was freed back to the system. Otherwise it would count as held."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


class Peak:
    """The peak memory of a block beyond what was held before it, in MB.

    It is resident memory, or what is allocated on the device.

    Example:
        >>> with Peak() as peak:
        ...     held = torch.ones(50_000_000)
        >>> 100 < peak.megabytes < 400
        True
    """

    def __init__(self, device: str = "cpu"):
        self.device = device

    def __enter__(self) -> "Peak":
        release_memory()
        self.forget()
        self.before = (
            torch.cuda.memory_allocated() / 2**20 if self.device == "cuda" else _resident()
        )
        return self

    def forget(self) -> None:
        """Lower the high-water mark, which imports and compiling have raised, to what is held."""
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def __exit__(self, *error: object) -> None:
        after = torch.cuda.max_memory_allocated() / 2**20 if self.device == "cuda" else _resident()
        self.megabytes = after - self.before


def _resident() -> float:
    """The high-water mark of resident memory, in MB."""
    status = Path("/proc/self/status")
    mark = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if mark:
        return int(mark[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
