"""MNIST with few labels: y drawn, y summed over, the classification term, and the classifier alone.

Three objectives on one pair, M2 (Kingma, Rezende, Mohamed & Welling, 2014), beside the table of
Pyro's tutorial on the semi-supervised VAE. It prints what differs from the tutorial. Each cell is
kept in a file, so that a run which was stopped goes on. Set PYRO_VAE_DATA to the folder that has
MNIST.

    python examples/studies/labels_mnist.py
    python examples/studies/labels_mnist.py --methods term,summed --known 100 --seeds 1,2
    python examples/studies/labels_mnist.py --short
"""

import argparse
import json
import math
import time
from functools import partial
from pathlib import Path

import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.nn.functional import one_hot, relu

import pyro_vae as pv
from pyro_vae.networks.network import Network

X, Z, K = (1, 28, 28), 50, 10
TUTORIAL = {  # test accuracy in table 1 of pyro.ai/examples/ss-vae.html
    "drawn": {100: 0.2007, 600: 0.1791, 1000: 0.2006, 3000: 0.1982},
    "summed": {100: 0.2254, 600: 0.6939, 1000: 0.7562, 3000: 0.8932},
    "alone": {100: 0.7712, 600: 0.8716, 1000: 0.8863, 3000: 0.9108},
    "term": {100: 0.9319, 600: 0.9437, 1000: 0.9487, 3000: 0.9582},
}
TITLES = {
    "drawn": "y drawn, the score function",
    "summed": "y summed over",
    "alone": "the classifier alone",
    "term": "y summed over, with the term",
}


class Layered(Network):
    """One hidden layer that sees all given variables, under any leading dimensions.

    The part of the layer that sees x runs once, and not for each label that is summed over.
    """

    def __init__(self, given, out, hidden: int):
        super().__init__(nn.Identity(), given, out)
        self.layers = nn.ModuleList(nn.Linear(math.prod(shape), hidden) for shape in given)
        self.last = nn.Linear(hidden, math.prod(out))

    def forward(self, *given: Tensor) -> Tensor:
        flat = [g.flatten(-len(shape)) for g, shape in zip(given, self.given_shapes, strict=True)]
        parts = [layer(g) for layer, g in zip(self.layers, flat, strict=True)]
        out = self.last(relu(sum(parts))).float()
        return out.reshape(*out.shape[:-1], *self.out_shape)


def build(hidden: int) -> pv.LabelledVAE:
    net = partial(Layered, hidden=hidden)
    return pv.LabelledVAE(
        labels=pv.OneHotCategorical(K, logits=0.0),
        prior=pv.StandardNormal(Z),
        likelihood=pv.Bernoulli(X, given=[Z, K], net=net),
        classifier=pv.OneHotCategorical(K, given=X, net=net),
        variational=pv.Normal(Z, given=[X, K], net=net),
    )


def choose_known(labels: Tensor, count: int, seed: int) -> Tensor:
    """The rows whose labels are known, as many of each class, at random."""
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for label in range(K):
        rows = (labels == label).nonzero().flatten()
        chosen.append(rows[torch.randperm(len(rows), generator=generator)[: count // K]])
    return torch.cat(chosen)


def hide_labels(x: Tensor, labels: Tensor, known: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """All rows, and those with a known label again until they are a share of all."""
    y = torch.full_like(labels, -1)
    y[known] = labels[known]
    copies = round(share * len(x) / len(known))
    again = known.repeat(max(0, copies - 1))

    return torch.cat([x, x[again]]), torch.cat([y, y[again]])


def train_alone(classifier: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    """Train q(y|x) on known labels, and nothing else."""
    optimiser = torch.optim.Adam(classifier.parameters(), lr=1e-3)
    labels = one_hot(y, K).float()
    for _ in range(steps):
        rows = torch.randint(len(x), (min(len(x), 100),))
        loss = -classifier(torch.bernoulli(x[rows])).log_prob(labels[rows]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def choose_objective(pair: pv.LabelledVAE, method: str, weight: float) -> nn.Module:
    if method == "drawn":
        return pv.Objective(pair, Trace_ELBO())
    if method == "summed":
        return pv.Objective(pair)
    return pv.Classification(pv.Objective(pair), weight)


def measure(pair: pv.LabelledVAE, x: Tensor, labels: Tensor) -> dict[str, float]:
    """The accuracy of q(y|x) at the grey test images, with its error over them."""
    with torch.no_grad():
        guesses = pair.classifier(x).logits.argmax(-1)
    right = (guesses == labels).double()
    return {
        "accuracy": right.mean().item(),
        "stderr": (right.std() / math.sqrt(len(right))).item(),
    }


def fill_cell(mnist, method: str, known: int, seed: int, options: argparse.Namespace) -> dict:
    """Train one cell of the table, and measure it."""
    x, labels = mnist.train[: options.rows], mnist.labels[0][: options.rows]
    chosen = choose_known(labels, known, seed)
    torch.manual_seed(seed)
    pair = build(options.hidden)
    start = time.perf_counter()

    if method == "alone":
        train_alone(pair.classifier, x[chosen], labels[chosen], options.steps)
    else:
        pv.fit(
            pair,
            *hide_labels(x, labels, chosen, options.share),
            epochs=options.epochs,
            batch_size=options.batch,
            learning_rate=options.rate,
            objective=choose_objective(pair, method, options.weight),
            transform=torch.bernoulli,
            precision=options.precision,
            seed=seed,
            progress=False,
        )
    found = measure(pair, mnist.test[: options.tests], mnist.labels[2][: options.tests])
    return found | {"minutes": (time.perf_counter() - start) / 60}


def write_table(cells: dict[str, dict], options: argparse.Namespace) -> None:
    """Print the cells of each method, and below them those of the tutorial."""
    print(f"{'test accuracy':32}" + "".join(f"{count:>20}" for count in options.known))
    for method in [name for name in TITLES if name in options.methods]:
        for title, written in (
            (TITLES[method], [write_cell(cells, method, count) for count in options.known]),
            ("  Pyro's tutorial", [f"{TUTORIAL[method].get(n, 0):.4f}" for n in options.known]),
        ):
            print(f"{title:32}" + "".join(f"{cell:>20}" for cell in written))


def write_cell(cells: dict[str, dict], method: str, known: int) -> str:
    """The mean over seeds: ± is over seeds where there are several, else over test images."""
    found = [cell for key, cell in cells.items() if key.startswith(f"{method} {known} ")]
    if not found:
        return ""
    values = torch.tensor([cell["accuracy"] for cell in found])
    if len(found) == 1:
        return f"{values.item():.4f} ± {found[0]['stderr']:.4f}"
    return f"{values.mean():.4f} ± {values.std() / math.sqrt(len(found)):.4f} ({len(found)})"


def main(
    methods: tuple[str, ...] = ("term", "summed", "alone", "drawn"),
    known: tuple[int, ...] = (100, 600, 1000, 3000),
    seeds: tuple[int, ...] = (0,),
    rows: int = 50_000,
    epochs: int = 3,
    hidden: int = 256,
    weight: float = 50.0,
    share: float = 0.1,
    batch: int = 200,
    rate: float = 3e-3,
    steps: int = 1_500,
    tests: int = 10_000,
    precision: str | None = "bf16",
    file: str | None = None,
) -> dict[str, dict]:
    options = argparse.Namespace(**locals())
    mnist = pv.data.load("mnist")
    cells = json.loads(Path(file).read_text()) if file and Path(file).exists() else {}

    for seed in seeds:
        for method in methods:
            for count in known:
                key = f"{method} {count} {seed}"
                if key in cells:
                    continue
                cells[key] = fill_cell(mnist, method, count, seed, options)
                print(key, {name: round(v, 4) for name, v in cells[key].items()}, flush=True)
                if file:
                    Path(file).write_text(json.dumps(cells, indent=1))

    write_table(cells, options)
    print(
        f"{min(rows, len(mnist.train))} training images, binarised anew each epoch, {epochs} "
        f"epochs in batches of {batch}, a hidden layer of {hidden} with ReLU, Adam at {rate}. "
        f"Rows with known labels are repeated until they are a share of {share}. The term has "
        f"weight {weight:g}. The classifier alone takes {steps} steps. The last iterate, measured "
        f"at {min(tests, len(mnist.test))} grey test images. ± is over seeds, (how many), or over "
        "test images."
    )
    print(
        "The tutorial has grey training images, a hidden layer of 500 with softplus, batches that "
        "are all labelled or all not, and the test accuracy at the best validation accuracy. The "
        "paper's M2 has 11.97 % error at 100 labels (quoted from memory)."
    )
    return cells


SHORT = {"known": (100,), "rows": 1_000, "epochs": 1, "hidden": 16, "steps": 20, "tests": 500}


def read_list(kind):
    return lambda text: tuple(kind(part) for part in text.split(","))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--methods", type=read_list(str), help="of term,summed,alone,drawn")
    parser.add_argument("--known", type=read_list(int), help="how many labels, a column each")
    parser.add_argument("--seeds", type=read_list(int))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--file", help="a JSON file that keeps the cells")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    main(**(SHORT if given.pop("short") else {}) | given)
