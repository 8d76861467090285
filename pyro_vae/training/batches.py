"""Batches: data in memory in a new random order, or what a loader gives."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from pyro_vae.arguments import check_type, say_again
from pyro_vae.pairs.multimodal import MultimodalVAE
from pyro_vae.pairs.pair import find_arguments
from pyro_vae.pairs.vae import VAE
from pyro_vae.processes import count_processes, gather, take_share
from pyro_vae.training.noise import Noise
from pyro_vae.training.origin import describe
from pyro_vae.weights.intake import admit, as_tensors

WATCHED = 1000  # rows of the training data that are measured where there are no validation data
UNKNOWN = slice(0, 0)  # which rows of a batch of all processes a loader gives
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

Transform = Callable[[Tensor], Tensor]


class Batches(ABC):
    """What an epoch consists of: tuples of tensors on one device, x first, `[rows, *event]`.

    Attributes:
        device: Where the tensors are.
        noise: The random draws of this process, where there are several.
        whole: All of the data, before `transform`, where they are in memory.
    """

    device: torch.device
    noise: Noise
    whole: tuple[Tensor, ...] | None = None

    @abstractmethod
    def __len__(self) -> int:
        """How many batches an epoch has, or 0 if that is not known."""

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """The batches of one epoch."""

    @abstractmethod
    def take_first(self) -> tuple[Tensor, ...]:
        """The first rows, to be measured after each epoch."""

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """What two runs must have in common if one resumes the other, in words by name."""


class InMemory(Batches):
    """Data in memory, gathered by index, in a new random order for each epoch."""

    whole: tuple[Tensor, ...]

    def __init__(
        self,
        pair: nn.Module,
        data: tuple,
        device: torch.device,
        transform: Transform | None,
        batch_size: int,
    ):
        self.whole = tuple(d.to(device) for d in as_tensors(pair, data))
        self.device = device
        self.transform = transform
        self.batch_size = int(batch_size)
        self.noise = Noise(device)
        refuse_few(self.batch_size)
        _admit_transformed(pair, self.whole, transform)

    @property
    def rows(self) -> int:
        """How many rows the data have."""
        return self.whole[0].shape[0]

    def __len__(self) -> int:
        return math.ceil(self.rows / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        self.noise.start_epoch()
        order = torch.randperm(self.rows).to(self.device)
        return self._gather(order)

    def _gather(self, order: Tensor) -> Iterator[tuple[Tensor, ...]]:
        for index in order.split(self.batch_size):
            share = take_share(len(index))
            with self.noise.of_batch(share, len(index)):
                mine = tuple(d[index[share]] for d in self.whole)
                batch = transform_first(mine, self.transform)
            yield batch

    def take_first(self) -> tuple[Tensor, ...]:
        first = tuple(d[:WATCHED] for d in self.whole)
        return transform_first(first, self.transform)

    def describe(self) -> dict[str, str]:
        return {"data": describe(self.whole), "batch_size": str(self.batch_size)}


class FromLoader(Batches):
    """Batches of a `DataLoader`, cut to what the model takes."""

    def __init__(
        self, pair: nn.Module, loader: DataLoader, device: torch.device, transform: Transform | None
    ):
        self.pair = pair
        self.loader = loader
        self.device = device
        self.transform = transform
        self.noise = Noise(device)
        self.count = count_arguments(pair)

        refuse_unshared(loader)
        first = next(iter(self), None)
        if first is None:
            raise ValueError("data is empty: the loader gave no batch")
        self.first = admit(pair, first)

    def __len__(self) -> int:
        try:
            return len(self.loader)
        except TypeError:  # the loader of an IterableDataset cannot tell
            return 0

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        self.noise.start_epoch()
        if isinstance(self.loader.sampler, DistributedSampler):
            self.loader.sampler.set_epoch(self.noise.base)
        return self._read()

    def _read(self) -> Iterator[tuple[Tensor, ...]]:
        batches = iter(self.loader)
        while True:
            with self.noise.of_batch(UNKNOWN, 0):
                given = next(batches, None)
                if given is None:
                    return
                batch = self._take(given)
            yield batch

    def _take(self, given: object) -> tuple[Tensor, ...]:
        parts = given if isinstance(given, list | tuple) else [given]
        taken = tuple(parts)[: self.count]
        batch = tuple(d.to(self.device) for d in as_tensors(self.pair, taken))
        return transform_first(batch, self.transform)

    def take_first(self) -> tuple[Tensor, ...]:
        return tuple(d[:WATCHED] for d in self.first)

    def describe(self) -> dict[str, str]:
        loader = self.loader
        sampler = type(loader.sampler).__qualname__
        kind = f"{type(loader.dataset).__qualname__} by {type(loader).__qualname__}, {sampler}"
        count = count_processes()
        # of several processes each has batches of its own
        of = f" of each of {count} processes" if count > 1 else ""
        words = {"data": kind, f"batches{of}": str(len(self))}
        words[f"batch_size{of}"] = str(loader.batch_size)
        # what streams may come in any order
        if count == 1 and not isinstance(loader.dataset, IterableDataset):
            words[f"first batch on {self.device.type}"] = describe(self.first)
        return words


def refuse_few(batch_size: int) -> None:
    """Raise a ValueError if a batch has fewer rows than there are processes."""
    count = count_processes()
    if batch_size < count:
        raise ValueError(
            f"batch_size: expected at least a row for each of the {count} processes, got "
            f"{batch_size}; it counts the rows of all processes together"
        )


def refuse_unshared(loader: DataLoader) -> None:
    """Raise a ValueError if each of several processes would read all that a loader gives."""
    count = count_processes()
    if count == 1:
        return
    if type(loader.sampler) in (RandomSampler, SequentialSampler):
        raise ValueError(
            f"data: each of the {count} processes would read all of the loader's data; give it a "
            "share, DataLoader(..., sampler=DistributedSampler(dataset))"
        )
    try:
        lengths = gather(len(loader))
    except TypeError:
        raise ValueError(
            f"data: the loader does not say how many batches it has, so {count} processes cannot "
            "end an epoch together; give its data set a length"
        ) from None
    if len(set(lengths)) > 1:
        raise ValueError(
            f"data: expected loaders of as many batches in each process, got {lengths}"
        )


def make_batches(
    pair: nn.Module,
    data: tuple,
    device: torch.device,
    transform: Transform | None,
    batch_size: int,
) -> Batches:
    """The batches of training data: tensors, or one `DataLoader`.

    Raises:
        TypeError, ValueError: if the data do not fit the pair.
    """
    if not data or not isinstance(data[0], DataLoader):
        return InMemory(pair, data, device, transform, batch_size)
    if len(data) > 1:
        raise ValueError(
            "data: the batches of a DataLoader hold all that the model takes; got more beside it"
        )
    return FromLoader(pair, data[0], device, transform)


def admit_validation(
    pair: nn.Module,
    validation: Tensor | np.ndarray | Sequence,
    device: torch.device,
    transform: Transform | None,
) -> tuple[Tensor, ...]:
    """The validation data, checked, transformed once, and on the device.

    Raises:
        TypeError, ValueError: if they do not fit the pair. The message says whose they are.
    """
    is_x = isinstance(validation, Tensor | np.ndarray)
    data = (validation,) if is_x else tuple(validation)
    try:
        tensors = tuple(d.to(device) for d in as_tensors(pair, data))
        return _admit_transformed(pair, tensors, transform)
    except (TypeError, ValueError) as error:
        raise say_again(error, f"validation: {error}") from error


def transform_first(data: tuple, transform: Transform | None) -> tuple[Tensor, ...]:
    """The data with their first tensor, x, transformed."""
    if transform is None:
        return data

    x, rows = transform(data[0]), data[0].shape[0]
    check_type("transform", x, Tensor, "a function that returns a tensor")
    if x.shape[:1] != (rows,):
        raise ValueError(
            f"transform: expected a function that returns as many rows as it is given, {rows}, got "
            f"shape {tuple(x.shape)}"
        )
    return (x, *data[1:])


def _admit_transformed(
    pair: nn.Module, data: tuple, transform: Transform | None
) -> tuple[Tensor, ...]:
    """Admit data as they are trained on. An error says that x was transformed."""
    transformed = transform_first(data, transform)
    try:
        return admit(pair, transformed)
    except (TypeError, ValueError) as error:
        if transform is None:
            raise
        raise say_again(error, f"{error} This x is what transform= returned.") from error


def count_arguments(pair: nn.Module) -> int | None:
    """How many tensors the model takes, x among them, or None if any number."""
    if isinstance(pair, VAE):
        return 1 + len(pair.covariates.shapes)
    if isinstance(pair, MultimodalVAE):
        return len(pair.likelihoods)

    kinds = [argument.kind for argument in find_arguments(pair)]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    return sum(kind in POSITIONAL for kind in kinds)
