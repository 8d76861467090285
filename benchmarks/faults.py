"""What is lost when a run is killed, its files are damaged or crafted, or two runs meet.

Each run is a process of its own, a fork of this one. It trains a small pair and writes its
checkpoint after every step, so that most moments are within a writing.

    python benchmarks/faults.py                     # all
    python benchmarks/faults.py kills               # one part of those that are listed below
    python benchmarks/faults.py --short             # few tries

The part `inputs` is `bad_inputs.py`, which is long. The exit code is 1 if anything was lost.
"""

import argparse
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader

import pyro_vae as pv
from pyro_vae import cli
from pyro_vae.training.checkpoints import read_file, read_tree, write_tree

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
EPOCHS, BATCH = 12, 12
STEPS = EPOCHS * len(X) // BATCH
CHAIN = 4  # kills of one run, at most, before it may end

Row = tuple[str, int, int]


# ---------------------------------------------------------------- runs


def make_pair(seed: int = 0) -> pv.VAE:
    torch.manual_seed(seed)
    small = partial(pv.networks.mlp, hidden=(8,))
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=2, net=small),
        variational=pv.Normal(2, given=3, net=small),
    )


def add_noise(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn_like(x)


# the arguments of `fit` that make a kind of run, from its pair
KINDS: dict[str, Callable[[pv.VAE], dict[str, Any]]] = {
    "fit": lambda pair: {},
    "annealed KL weight": lambda pair: {
        "objective": pv.KLWeight(pv.Objective(pair), pv.linear(STEPS))
    },
    "schedule": lambda pair: {
        "schedule": partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=EPOCHS)
    },
    "patience": lambda pair: {"validation": X[:20], "patience": EPOCHS},
    "loader": lambda pair: {"data": DataLoader(X, BATCH, shuffle=True)},
    "compiled": lambda pair: {"compile": True},
}


def train(kind: str, folder: Path, told: int | None = None, **options: Any) -> None:
    """Train a pair, or go on, and write its weights at the end. Each batch is told to a pipe."""

    def transform(x: Tensor) -> Tensor:
        if told is not None:
            os.write(told, b".")
        return add_noise(x)

    pair = make_pair()
    asked = {"data": X, "transform": transform} | KINDS[kind](pair) | options
    pv.fit(
        pair,
        asked.pop("data"),
        **{"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": 1e-2, "seed": 1}
        | {"checkpoint": folder / "run", "checkpoint_every": 0, "resume": True}
        | asked,
        progress=False,
    )
    pv.save_weights(pair, folder / "end")


def train_by_command(folder: Path, told: int | None = None, seed: int = 0) -> None:
    """The same from the command line, in a folder of its own."""
    options = {"data": "digits", "epochs": 3, "batch-size": 256, "latent": 2, "num-samples": 20}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    if (folder / "config.json").exists():
        words = ["--resume"]
    call_command("train", *words, "--out", str(folder))


def call_command(*words: str) -> None:
    """Call the command line, which writes a checkpoint after each step and ends in an error."""
    fit = pv.fit
    pv.fit = partial(fit, checkpoint_every=0, progress=False)
    sys.argv = ["pyro-vae", *words]
    cli.app(standalone_mode=False)


# ---------------------------------------------------------------- processes


class Child:
    """A function in a forked process, whose error comes back as text."""

    def __init__(self, function: Callable[[int], None]):
        self.read, write = os.pipe()
        self.errors, say = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            os.close(write)
            os.close(say)
            return
        os.close(self.read)
        _silence()
        try:
            function(write)
            os._exit(0)
        except BaseException as error:
            os.write(say, f"{type(error).__name__}: {error}".encode()[:4000])
            os._exit(1)

    def wait_for(self, batches: int) -> None:
        """Wait until so many batches are told, or the run ends."""
        while batches > 0 and (told := os.read(self.read, 1)):
            batches -= len(told)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> tuple[int, str]:
        """Wait for the end: the status, negative for a signal, and the error."""
        error = b""
        while part := os.read(self.errors, 4096):
            error += part
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.read)
        os.close(self.errors)
        return status, error.decode()


def _silence() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)


def run_alone(function: Callable[[int], None]) -> tuple[float, int, str]:
    """Run a function to its end: the seconds that it took, its status and its error."""
    start = time.monotonic()
    status, error = Child(function).end()
    return time.monotonic() - start, status, error


# ---------------------------------------------------------------- kills


class Kill(NamedTuple):
    """How runs of a kind are killed."""

    start: Callable[..., None]
    moment: Callable[[Child, random.Random, float], None]


def kill_in_step(child: Child, chance: random.Random, seconds: float) -> None:
    """Kill at a random moment of a random step."""
    child.wait_for(chance.randrange(1, STEPS))
    time.sleep(chance.uniform(0, seconds / STEPS))
    child.kill()


def kill_in_time(child: Child, chance: random.Random, seconds: float) -> None:
    """Kill at a random moment of the whole command."""
    time.sleep(chance.uniform(0, seconds))
    child.kill()


def die_while_writing(start: Callable[..., None], chance: random.Random) -> Callable[..., None]:
    """A run that kills itself when a file is half written, or just before or after it is there."""
    left, point, share = chance.randrange(1, STEPS), chance.randrange(3), chance.random()
    replace = os.replace

    def killing(half: Path, path: Path) -> None:
        nonlocal left
        left -= 1
        if left == 0 and point == 0:
            content = Path(half).read_bytes()
            Path(half).write_bytes(content[: int(share * len(content))])
        if left == 0 and point == 2:
            replace(half, path)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(half, path)

    def run(*args: Any, **options: Any) -> None:
        os.replace = killing
        start(*args, **options)

    return run


def measure_kills(tries: dict[str, int]) -> list[tuple[str, int, int, int, int]]:
    """Kill runs of each kind, and let each end: kills, runs, files unreadable, runs that differ."""
    rows = []
    for kind, kills in tries.items():
        chance = random.Random(kind)
        with tempfile.TemporaryDirectory() as folder:
            rows.append((kind, *_kill_runs(kind, kills, chance, Path(folder))))
    return rows


def _kill_runs(kind: str, kills: int, chance: random.Random, folder: Path) -> tuple[int, ...]:
    is_command = kind == "command line"
    base = "fit" if kind == "while a file is written" else kind
    start = train_by_command if is_command else partial(train, base)
    moment = kill_in_time if is_command else kill_in_step

    (folder / "whole").mkdir()
    seconds, status, error = run_alone(lambda told: start(folder / "whole", told))
    assert status == 0, error

    counts: Counter[str] = Counter()
    while counts["kills"] < kills:
        own = folder / f"run-{counts['runs']}"
        own.mkdir()
        counts["runs"] += 1
        for _ in range(min(CHAIN, kills - counts["kills"])):
            run = start
            if kind == "while a file is written":
                run = die_while_writing(start, chance)
            child = Child(lambda told, run=run, own=own: run(own, told))
            if run is start:
                moment(child, chance, seconds)
            if child.end()[0] != -signal.SIGKILL:
                break
            counts["kills"] += 1
            counts["unreadable"] += not all(can_read(path) for path in list_files(own))
        _, status, error = run_alone(lambda told, own=own: start(own, told))
        counts["differ"] += bool(status) or not are_equal(folder / "whole", own)
    return tuple(counts[name] for name in ("kills", "runs", "unreadable", "differ"))


def list_files(folder: Path) -> Iterator[Path]:
    """The files of a run that must be whole, not what a killed process has left half written."""
    for path in folder.rglob("*"):
        is_half = ".part." in str(path.relative_to(folder))
        if path.is_file() and not is_half and path.suffix != ".lock":
            yield path


def can_read(path: Path) -> bool:
    try:
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".safetensors", ""):
            read_file(path)
        return True
    except ValueError:
        return False


def are_equal(a: Path, b: Path) -> bool:
    """Whether two runs have ended with the same weights, bit for bit, and nothing else is left."""
    end = "weights.safetensors" if (a / "weights.safetensors").exists() else "end"
    # of its end no run holds a lock, so that half of it may stay
    names = [
        sorted(path.name for path in folder.iterdir() if not path.name.endswith(".part.end"))
        for folder in (a, b)
    ]
    return names[0] == names[1] and (a / end).read_bytes() == (b / end).read_bytes()


# ---------------------------------------------------------------- damaged and crafted files


def make_checkpoint(folder: Path) -> Path:
    """The checkpoint of a run that was stopped in the middle, by its best weights so far too."""
    run_alone(lambda told: train("patience", folder, epochs=3))
    return folder / "run"


def measure_damage(tries: int, damage: Callable[[bytes, random.Random], bytes]) -> list[Row]:
    """Damage a checkpoint and a file of weights again and again: tries, and those not noticed."""
    chance, rows = random.Random(0), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_checkpoint(folder)
        for file, kind in (("run", "a checkpoint"), ("end", "weights")):
            whole, unnoticed = (folder / file).read_bytes(), 0
            for _ in range(tries):
                (folder / file).write_bytes(damage(whole, chance))
                unnoticed += not _is_refused(folder / file)
            rows.append((kind, tries, unnoticed))
    return rows


def _is_refused(path: Path) -> bool:
    try:
        pv.load_weights(make_pair(1), path)
        return False
    except ValueError as error:
        return str(path) in str(error)


def flip(whole: bytes, chance: random.Random) -> bytes:
    place, flipped = chance.randrange(8 * len(whole)), bytearray(whole)
    flipped[place // 8] ^= 1 << place % 8
    return bytes(flipped)


def truncate(whole: bytes, chance: random.Random) -> bytes:
    return whole[: chance.randrange(len(whole))]


# what a run may lack: words on its origin, state of a parameter, a normal draw that is left over
LACKED = re.compile(r"origin/words/|optimizer/state/\d+$|gauss$")


def craft(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Trees that no run would write: a tensor of another shape, no tensor, a text for a number."""
    if not isinstance(tree, dict | list):
        yield from ((f"{name} is {what}", changed) for what, changed in _change_leaf(tree))
        return
    if isinstance(tree, list):
        yield f"{name} is longer", [*tree, {}]
    for key, branch in tree.items() if isinstance(tree, dict) else enumerate(tree):
        path = f"{name}/{key}" if name else str(key)
        if isinstance(tree, dict) and not LACKED.search(path):
            yield f"{path} is missing", {k: v for k, v in tree.items() if k != key}
        for what, changed in craft(branch, path):
            yield what, _put(tree, key, changed)


def craft_slots(tree: dict) -> Iterator[tuple[str, dict]]:
    """Trees from which a fused step that trusts them would read and write beyond a tensor."""
    optimizer = tree["optimizer"]
    small = {name: torch.zeros(1) for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")}
    slots = {i: slot | small for i, slot in optimizer["state"].items()}
    last = slots[max(slots, key=int)]
    groups = [group | {"amsgrad": True} for group in optimizer["param_groups"]]
    for what, changed in (
        ("state of one number", {"state": slots}),
        ("state of the parameter -1", {"state": optimizer["state"] | {"-1": last}}),
        ("options that want more state", {"param_groups": groups}),
        ("options and state of one number", {"param_groups": groups, "state": slots}),
    ):
        yield what, tree | {"optimizer": optimizer | changed}


def _put(tree: dict | list, key: Any, branch: Any) -> dict | list:
    changed = tree.copy()
    changed[key] = branch
    return changed


def _change_leaf(leaf: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(leaf, Tensor):
        yield "one number", torch.zeros(1, dtype=leaf.dtype)
        yield "larger", torch.zeros(leaf.numel() + 3, dtype=leaf.dtype)
        yield "empty", torch.zeros(0, dtype=leaf.dtype)
        yield "a text", "1"
    elif isinstance(leaf, int | float):
        yield "a text", "one"
        yield "a tensor", torch.zeros(3)
        yield "a tree", {"a": [1]}


def measure_crafted(tries: int) -> list[tuple[str, int, int, int, int]]:
    """Resume from crafted checkpoints: tries, and those accepted, refused unclearly, and fatal."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = read_tree(make_checkpoint(folder))
        others = [*craft(tree)]
        random.Random(0).shuffle(others)
        crafted = [*craft_slots(tree), *others][:tries]
        counts: Counter[str] = Counter()
        for i, (what, changed) in enumerate(crafted):
            own = folder / str(i)
            own.mkdir()
            write_tree(own / "run", changed)
            _, status, error = run_alone(lambda told, own=own: train("patience", own))
            how = _judge(status, error, own / "run")
            counts[how] += 1
            if how != "refused":
                print(f"{what}: {how}, {error}")
        shown = ("accepted", "unclear", "fatal")
        return [("a checkpoint", len(crafted), *(counts[how] for how in shown))]


def _judge(status: int, error: str, path: Path) -> str:
    if status == 0:
        return "accepted"
    if status < 0:
        return "fatal"
    return "refused" if error.startswith("ValueError: ") and str(path) in error else "unclear"


# ---------------------------------------------------------------- two writers, and no room


def measure_writers(tries: int) -> list[tuple[str, int, int, int]]:
    """Start two runs at once: tries, both went on, files of both mixed or unreadable."""
    rows = []
    kinds = (
        ("one checkpoint", lambda folder, seed: train("fit", folder, seed=seed, resume=False)),
        ("one run folder", lambda folder, seed: _train_in(folder, "--out", "run", seed=seed)),
        ("the default folder", lambda folder, seed: _train_in(folder, seed=seed)),
    )
    for kind, start in kinds if tries else ():
        counts: Counter[str] = Counter()
        for _ in range(tries):
            with tempfile.TemporaryDirectory() as name:
                counts += _race(start, Path(name))
        rows.append((kind, tries, counts["both in one"], counts["lost"]))
    return rows


def _train_in(folder: Path, *words: str, seed: int) -> None:
    os.chdir(folder)
    options = ("--epochs", "2", "--batch-size", "512", "--num-samples", "20", "--seed", str(seed))
    call_command("train", *options, *words)


def _race(start: Callable[[Path, int], None], folder: Path) -> Counter[str]:
    gate, signal_end = os.pipe()

    def run(seed: int, told: int) -> None:
        os.close(signal_end)
        os.read(gate, 1)
        start(folder, seed)

    children = [Child(partial(run, seed)) for seed in (1, 2)]
    os.close(signal_end)  # both are let go
    os.close(gate)
    ends = [child.end() for child in children]

    winners = [seed for seed, (status, _) in zip((1, 2), ends, strict=True) if status == 0]
    refused = sum("another run" in error or "already holds a run" in error for _, error in ends)
    found = [path for path in folder.rglob("*") if path.name in ("run", "checkpoint.safetensors")]
    seeds = [read_tree(path)["origin"]["seed"] for path in found if path.is_file()]
    configs = [json.loads(path.read_text())["seed"] for path in folder.rglob("config.json")]

    is_whole = sorted(seeds) == winners and (not configs or sorted(configs) == winners)
    return Counter(
        {
            "both in one": len(winners) > len(seeds),
            "lost": not winners or len(winners) + refused != 2 or not is_whole,
        }
    )


def fill_up(folder: Path, told: int, after: int) -> None:
    """Train, with a disk that is full after so many writings. The limit of a file stands for it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    replace, left = os.replace, after

    def counting(half: Path, path: Path) -> None:
        nonlocal left
        replace(half, path)
        left -= 1
        if left == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))

    if after == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
    os.replace = counting
    train("fit", folder)


def measure_room(tries: int) -> list[tuple[str, int, int, int]]:
    """Fill the disk up in the middle of runs: tries, errors that are unclear, and runs lost."""
    counts: Counter[str] = Counter()
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "whole").mkdir()
        run_alone(lambda told: train("fit", folder / "whole"))
        for i in range(tries):
            own, after = folder / str(i), 0 if i == 0 else chance.randrange(1, STEPS)
            own.mkdir()
            _, _, error = run_alone(lambda told, own=own, n=after: fill_up(own, told, n))
            counts["unclear"] += not error.startswith("OSError: checkpoint: cannot write")
            run_alone(lambda told, own=own: train("fit", own))
            counts["lost"] += not are_equal(folder / "whole", own)
    return [("fit", tries, counts["unclear"], counts["lost"])]


# ---------------------------------------------------------------- all


def measure_inputs(short: bool) -> list:
    """The table of `bad_inputs.py`, which prints its own counts."""
    import bad_inputs

    bad_inputs.main(["--short"] if short else [])
    return []


KILLS = {
    "fit": 24,
    "annealed KL weight": 12,
    "schedule": 12,
    "patience": 12,
    "loader": 12,
    "compiled": 8,
    "command line": 12,
    "while a file is written": 24,
}
KILLS_HEAD = ("run", "kills", "runs", "files unreadable", "runs that end otherwise")

# how each part is measured, the head of its table, and how many tries there are, or are if short
PARTS: dict[str, tuple[Callable[[Any], list], tuple[str, ...], tuple[Any, Any]]] = {
    "kills": (measure_kills, KILLS_HEAD, (KILLS, {"fit": 1, "while a file is written": 1})),
    "flips": (
        partial(measure_damage, damage=flip),
        ("a bit flipped in", "tries", "not noticed"),
        (100, 20),
    ),
    "truncations": (
        partial(measure_damage, damage=truncate),
        ("the end cut off", "tries", "not noticed"),
        (20, 5),
    ),
    "crafted": (measure_crafted, ("crafted", "tries", "accepted", "unclear", "fatal"), (200, 5)),
    "writers": (measure_writers, ("two runs in", "tries", "both wrote it", "lost"), (5, 0)),
    "room": (measure_room, ("disk full", "tries", "errors unclear", "runs lost"), (10, 1)),
    "inputs": (measure_inputs, (), (False, True)),
}


def prepare() -> None:
    """Import here what every run would import anew, and start no thread, which no fork survives."""
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1)])


def main(argv: list[str] | None = None) -> dict[str, list[tuple]]:
    """Run the parts that are asked for, and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", help=f"Of {', '.join(PARTS)}. By default all but inputs."
    )
    parser.add_argument("--short", action="store_true", help="Few tries.")
    options = parser.parse_args(argv)
    prepare()

    tables = {}
    for part in options.parts or [part for part in PARTS if part != "inputs"]:
        measure, head, (long, short) = PARTS[part]
        start = time.monotonic()
        tables[part] = measure(short if options.short else long)
        print(f"\n{part}, {time.monotonic() - start:.0f} s\n", flush=True)
        if head:
            print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
        for row in tables[part]:
            print(f"| {' | '.join(map(str, row))} |")
    return tables


def count_losses(tables: dict[str, list[tuple]]) -> int:
    """How many tries did not end as they should."""
    tries = {"tries", "kills", "runs"}
    return sum(
        number
        for part, rows in tables.items()
        for row in rows
        for name, number in zip(PARTS[part][1][1:], row[1:], strict=True)
        if name not in tries
    )


if __name__ == "__main__":
    sys.exit(min(count_losses(main()), 1))
