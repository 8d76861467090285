"""The same benchmark from two checkouts, in turn: what a change costs or gains.

    git worktree add ../before f725fd6
    python benchmarks/beside.py ../before step.py --rounds 5 -- --shapes mlp --only ours

Each round runs the benchmark of the other checkout and that of this one, each in a process of its
own, in an order that alternates. What stands after `--` goes to the benchmark. The figure is the
median over rounds of this checkout's median divided by the other's: below 1, this one is faster.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

from timing import machine

HERE = Path(__file__).resolve().parent.parent
CELL = re.compile(r"^\| *(?P<name>[^|]+?) *\|(?P<numbers>.+)\|$")


def read_column(output: str, column: str) -> dict[str, float]:
    """A column of all tables of a benchmark, by its title and row."""
    found, title, place = {}, "", None
    for line in output.splitlines():
        match = CELL.match(line)
        if match is None:
            title = line.split(";")[0] if ";" in line else title
            place = None
            continue
        cells = [cell.strip() for cell in match["numbers"].split("|")]
        if place is None:
            place = cells.index(column) if column in cells else -1
        elif place >= 0 and re.fullmatch(r"[\d.]+", cells[place]):
            found[f"{title}: {match['name']}"] = float(cells[place])
    return found


def run(checkout: Path, benchmark: str, options: list[str], column: str) -> dict[str, float]:
    """One run of a benchmark of a checkout, in a process of its own."""
    command = [sys.executable, str(checkout / "benchmarks" / benchmark), "--markdown", *options]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return read_column(done.stdout, column)


def compare(other: Path, benchmark: str, rounds: int, options: list[str], column: str) -> list:
    """By row: the medians of both, and the median of their ratios within a round."""
    turns = []
    for i in range(rounds):
        order = [other, HERE] if i % 2 == 0 else [HERE, other]
        found = {checkout: run(checkout, benchmark, options, column) for checkout in order}
        turns.append((found[other], found[HERE]))

    rows = []
    for name in [name for name in turns[0][0] if name in turns[0][1]]:
        before, after = [turn[0][name] for turn in turns], [turn[1][name] for turn in turns]
        ratios = [b / a for a, b in zip(before, after, strict=True)]
        medians = map(statistics.median, (before, after, ratios))
        rows.append((name, *medians, min(ratios), max(ratios)))
    return rows


def main(argv: list[str] | None = None) -> list:
    argv = sys.argv[1:] if argv is None else argv
    own, options = argv, []
    if "--" in argv:
        at = argv.index("--")
        own, options = argv[:at], argv[at + 1 :]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("benchmark", help="a file of benchmarks/ that both have, step.py say")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s")
    parser.add_argument("--column", default="median", help="of the tables (default %(default)s)")
    args = parser.parse_args(own)

    print(machine("cpu"))
    rows = compare(args.other.resolve(), args.benchmark, args.rounds, options, args.column)
    print(f"\n{'':60} {'other':>10} {'this':>10} {'this / other':>14} {'range':>15}")
    for name, before, after, ratio, low, high in rows:
        spread = f"{low:.2f} to {high:.2f}"
        print(f"{name:60} {before:10.4g} {after:10.4g} {ratio:14.3f} {spread:>15}")
    return rows


if __name__ == "__main__":
    main()
