"""An epoch of MNIST from files to weights: ours, plain PyTorch, Pyro's example as written, Pythae.

    PYRO_VAE_DATA=folder python benchmarks/epoch.py [--rounds 5] [--rows 60000]

There are two races, because Pyro's example and Pythae have sizes of their own. The others take
those. Every turn reads the files, builds the model and the loader, and trains for one epoch of the
60,000 training images. Ours and plain PyTorch binarise anew in every batch. The rivals do not. Ours
measures the ELBO at the end as well. Pyro's example is timed without what it does on the test set.

"ours, compiled" leaves out the time by which its first epoch was longer than its second. "ours,
compiled, with compiling" includes it. Except at the first call, compiling reads the cache on disk.
"""

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial

import pyro
import torch
import torchvision
from pyro.contrib.examples.util import MNIST
from rivals import LEARNING_RATE, Plain, Shape, ours, pyro_svi, quiet
from timing import HEAD, Row, Turn, chosen, machine, milliseconds, parser, race, restrict, show
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

import pyro_vae as pv

OURS = "ours, compiled"
RACES = {
    "Pyro's sizes": Shape((400,), 50, 256, activation=nn.Softplus),
    "Pythae's sizes": Shape((512,), 20, 128),
}


def images(rows: int) -> Tensor:
    held = pv.data.load("mnist")
    return torch.cat([held.train, held.validation])[:rows]


def our_fit(shape: Shape, rows: int, device: str, compiled: bool, whole: bool) -> Turn:
    """Files to weights.

    Compiled, it trains two epochs. Unless `whole`, it leaves out the time by which the first was
    longer than the second.
    """

    def turn(steps: int) -> float:
        start = time.perf_counter()
        x = images(rows)
        history = pv.fit(
            ours(shape).to(device),
            x,
            epochs=2 if compiled else 1,
            batch_size=shape.batch,
            learning_rate=LEARNING_RATE,
            transform=torch.bernoulli,
            compile=compiled,
            progress=False,
        )
        spent = time.perf_counter() - start
        if not compiled:
            return spent
        first, second = history.seconds
        return spent - (second if whole else first)

    return turn


def plain(shape: Shape, rows: int, device: str) -> Turn:
    """The network of pytorch/examples, written by hand for speed: data in memory, fused Adam."""

    def turn(steps: int) -> None:
        x, loss = images(rows).to(device), Plain(shape).to(device)
        optimizer = torch.optim.Adam(loss.parameters(), lr=LEARNING_RATE, fused=True)
        total = torch.zeros((), device=device)
        for index in torch.randperm(x.shape[0], device=device).split(shape.batch):
            optimizer.zero_grad(set_to_none=True)
            value = loss(torch.bernoulli(x[index]))
            value.backward()
            optimizer.step()
            total += value.detach()
        total.item()

    return turn


class MNISTCached(MNIST):
    """pyro, examples/vae/utils/mnist_cached.py: scaled and flattened once, then read by row."""

    def __init__(self, root: str, train: bool):
        super().__init__(root, train=train, download=True)
        self.data = (self.data.float() * (1.0 / 255)).view(-1, 784)
        self.targets = torch.zeros(self.targets.size(0), 10).scatter_(
            1, self.targets.view(-1, 1), 1.0
        )

    @property
    def raw_folder(self) -> str:
        return os.path.join(self.root, "MNIST", "raw")

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.data[index], self.targets[index]


def cached(root: str) -> tuple[Dataset, dict]:
    MNISTCached(root, train=False)
    return MNISTCached(root, train=True), {"num_workers": 0, "pin_memory": False}


def transformed(root: str) -> tuple[Dataset, dict]:
    """pyro, tutorial/source/vae.ipynb: a worker puts images through `ToTensor`, one by one."""
    to_tensor = torchvision.transforms.ToTensor()
    MNIST(root, train=False, transform=to_tensor, download=True)
    return MNIST(root, train=True, transform=to_tensor, download=True), {"num_workers": 1}


def pyro_example(shape: Shape, rows: int, device: str, data: Callable) -> Turn:
    def turn(steps: int) -> None:
        pyro.clear_param_store()
        train, how = data(str(pv.data.root()))
        loader = DataLoader(Subset(train, range(rows)), batch_size=shape.batch, shuffle=True, **how)
        svi = pyro_svi(shape, device)
        epoch_loss = 0.0
        for x, _ in loader:
            epoch_loss += svi.step(x.to(device))

    return turn


def pythae(shape: Shape, rows: int, device: str) -> Turn:
    """pythae, README "Launching a model training", its networks: 784-512-latent and back."""
    from pythae.models import VAE, VAEConfig
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    def turn(steps: int) -> None:
        with quiet(), tempfile.TemporaryDirectory() as folder:
            x = (
                torchvision.datasets.MNIST(str(pv.data.root()), train=True)
                .data[:rows]
                .reshape(-1, 1, 28, 28)
                / 255.0
            )
            config = BaseTrainerConfig(
                output_dir=folder,
                num_epochs=1,
                learning_rate=LEARNING_RATE,
                per_device_train_batch_size=shape.batch,
                no_cuda=device == "cpu",
            )
            model = VAE(
                VAEConfig(input_dim=(1, 28, 28), latent_dim=shape.latent, reconstruction_loss="bce")
            )
            TrainingPipeline(training_config=config, model=model)(train_data=x)

    return turn


def contestants(name: str, rows: int, device: str) -> dict[str, Callable[[], Turn]]:
    a = (RACES[name], rows, device)
    found = {
        "ours, eager": lambda: our_fit(*a, compiled=False, whole=True),
        OURS: lambda: our_fit(*a, compiled=True, whole=False),
        "ours, compiled, with compiling": lambda: our_fit(*a, compiled=True, whole=True),
        "plain PyTorch": lambda: plain(*a),
    }
    if name == "Pyro's sizes":
        found["Pyro's example"] = lambda: pyro_example(*a, cached)
        found["Pyro's tutorial"] = lambda: pyro_example(*a, transformed)
    else:
        found["Pythae"] = partial(pythae, *a)
    return found


def main(argv: list[str] | None = None) -> dict[str, tuple[dict[str, Row], dict[str, str]]]:
    options = parser(__doc__, rounds=5)
    options.add_argument(
        "--rows", type=int, default=60_000, help="of the training images (default %(default)s)"
    )
    args = options.parse_args(argv)
    restrict(args.isa)
    rounds, rows = (1, min(args.rows, 512)) if args.short else (args.rounds, args.rows)

    print(machine(args.device))
    found = {}
    for name, shape in RACES.items():
        makers = chosen(contestants(name, rows, args.device), args.only)
        table, missing = race(makers, ours=OURS, rounds=rounds, device=args.device)
        title = (
            f"{name}: {shape}; s from files to weights after an epoch of {rows} images, "
            f"{rounds} rounds"
        )
        show(title, HEAD, milliseconds(table, scale=1), missing, args.markdown)
        found[name] = table, missing
    pyro.clear_param_store()
    return found


if __name__ == "__main__":
    main()
