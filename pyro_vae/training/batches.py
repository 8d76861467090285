"""Batches: data in memory in a new random order, or what a loader gives."""

import inspect
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from pyro_vae.arguments import check_pair, say_again
from pyro_vae.pairs.multimodal import MultimodalVAE
from pyro_vae.pairs.pair import find_arguments
from pyro_vae.pairs.vae import VAE
from pyro_vae.processes import count_processes, gather, take_share, try_together
from pyro_vae.training.noise import Noise
from pyro_vae.training.origin import describe
from pyro_vae.training.randomness import fork
from pyro_vae.weights.intake import admit, as_tensors, find_precision, read_tensors, refuse_pair
from pyro_vae.weights.rows import (
    Preparation,
    Rows,
    Transform,
    apply_transform,
    explain_transform,
)
from pyro_vae.weights.survey import check_finite, survey
from pyro_vae.weights.traces import quietly

WATCHED = 1000  # rows of the training data that are measured where there are no validation data
UNKNOWN = slice(0, 0)  # which rows of a batch of all processes a loader gives
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Batches(ABC):
    """What an epoch consists of: tuples of tensors on one device, x first, `[rows, *event]`.

    Attributes:
        device: Where the tensors are.
        batch_size: How many rows a batch has, but for the last.
        noise: The random draws of this process, where there are several.
        whole: All of the data, before `transform`, where they are in memory.
    """

    device: torch.device
    batch_size: int
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
    """Data in memory, or in a map of a file, gathered by index, in a new random order each epoch.

    On a GPU the data lie there too. A map stays where it is.
    """

    whole: tuple[Tensor, ...]

    def __init__(
        self,
        pair: nn.Module,
        data: tuple,
        device: torch.device,
        transform: Transform | None,
        batch_size: int,
        drop_last: bool = False,
    ):
        prepare = Preparation(device, find_precision(pair), transform)
        is_map = any(isinstance(values, np.memmap) for values in data)
        whole = read_tensors(data)
        self.whole = whole if is_map or device.type == "cpu" else prepare.place(whole)
        self.device = device
        self.batch_size = int(batch_size)
        self.noise = Noise(device)
        self.data = Rows(self.whole, prepare)
        self.drop_last = drop_last
        refuse_few(self.batch_size)
        self._check_last(pair)
        try_together(lambda: self._survey_share(pair, prepare))
        refuse_pair(pair, self.data.take(slice(0, 3)))

    @property
    def rows(self) -> int:
        """How many rows the data have."""
        return len(self.data)

    def __len__(self) -> int:
        return self.rows // self.batch_size + (self._count_last() > 0)

    def _count_last(self) -> int:
        """How many rows the last batch has, where they are fewer than in the others, or 0."""
        return 0 if self.drop_last else self.rows % self.batch_size

    def _check_last(self, pair: nn.Module) -> None:
        if not len(self):
            raise ValueError(
                f"drop_last: a batch has {self.batch_size} rows and the data have {self.rows}, so "
                "that none is left; take a smaller batch_size"
            )
        refuse_single(pair, self._count_last(), "fit(..., drop_last=True)")

    def _survey_share(self, pair: nn.Module, prepare: Preparation) -> None:
        """Check the data. Of several processes each reads its share."""
        share = take_share(self.rows)
        if share.stop > share.start:
            survey(pair, Rows(tuple(d[share] for d in self.whole), prepare))

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        self.noise.start_epoch()
        order = torch.randperm(self.rows).to(self.whole[0].device)
        return self._gather(order)

    def _gather(self, order: Tensor) -> Iterator[tuple[Tensor, ...]]:
        for index in order.split(self.batch_size)[: len(self)]:
            share = take_share(len(index))
            with self.noise.of_batch(share, len(index)):
                batch = self.data.take(index[share])
            yield batch

    def take_first(self) -> tuple[Tensor, ...]:
        return self.data.take(slice(0, WATCHED))

    def describe(self) -> dict[str, str]:
        words = {"data": describe(self.whole), "batch_size": str(self.batch_size)}
        return words | {"drop_last": str(self.drop_last)}


class FromLoader(Batches):
    """Batches of a `DataLoader`, cut to what the model takes. Those of the first epoch are checked.

    The first is checked before training, the others as they come.
    """

    def __init__(
        self, pair: nn.Module, loader: DataLoader, device: torch.device, transform: Transform | None
    ):
        self.pair = pair
        self.loader = loader
        self.device = device
        self.noise = Noise(device)
        self.prepare = Preparation(device, find_precision(pair), transform)
        self.count = count_arguments(pair)
        self.has_seen_all = False

        refuse_unshared(loader)
        refuse_single(pair, count_last(loader), "DataLoader(..., drop_last=True)")
        first = next(iter(loader), None)
        if first is None:
            raise ValueError("data is empty: the loader gave no batch")
        self.first = Rows(self._read_parts(first), self.prepare)
        self.batch_size = len(self.first)
        self.look = survey(pair, self.first)
        refuse_pair(pair, self.first.take(slice(0, 3)))

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
        for number in itertools.count(1):
            with self.noise.of_batch(UNKNOWN, 0):
                given = next(batches, None)
                if given is None:
                    self.has_seen_all = True
                    return
                batch = self._take(given, number)
            yield batch

    def _take(self, given: object, number: int) -> tuple[Tensor, ...]:
        parts = self._read_parts(given)
        if self.has_seen_all:
            return self.prepare(parts)
        self.look.rows = Rows(parts, self.prepare)
        try:
            with quietly(self.pair):
                return self.look.at(0, parts)[0]
        except (TypeError, ValueError) as error:
            raise say_again(error, f"data: batch {number} of the loader: {error}") from error

    def _read_parts(self, given: object) -> tuple[Tensor, ...]:
        parts = given if isinstance(given, list | tuple) else [given]
        return read_tensors(tuple(parts)[: self.count])

    def take_first(self) -> tuple[Tensor, ...]:
        return self.first.take(slice(0, WATCHED))

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
            words[f"first batch on {self.device.type}"] = describe(self.first.data)
        return words


def count_last(loader: DataLoader) -> int:
    """How many rows the last batch of a loader has, if they are fewer and known, or else 0."""
    if loader.batch_size is None or loader.drop_last:
        return 0
    try:
        return len(loader.sampler) % loader.batch_size  # type: ignore[arg-type]
    except TypeError:  # a sampler of an IterableDataset cannot tell
        return 0


def refuse_single(pair: nn.Module, last: int, cure: str) -> None:
    """Raise a ValueError if a batch of one row would end the first epoch in batch normalisation.

    Arguments:
        pair: The pair.
        last: How many rows the last batch has.
        cure: How to leave it out.
    """
    names = [name for name, module in pair.named_modules() if isinstance(module, nn.BatchNorm1d)]
    each, more = divmod(last, count_processes())
    if names and last and 1 in (each, each + bool(more)):
        raise ValueError(
            "batch_size: the last batch of an epoch has one row, and the batch normalisation "
            f"{names[0]} cannot tell how it is spread. Leave that batch out, {cure}, or take "
            "another batch_size"
        )


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
    drop_last: bool,
) -> Batches:
    """The batches of training data: tensors, or one `DataLoader`.

    Raises:
        TypeError, ValueError: if the data do not fit the pair.
    """
    check_pair(pair)
    with fork(device):  # what is drawn after this does not depend on how the data were checked
        if not data or not isinstance(data[0], DataLoader):
            return InMemory(pair, data, device, transform, batch_size, drop_last)
        if len(data) > 1:
            raise ValueError(
                "data: the batches of a DataLoader hold all that the model takes; got more beside "
                "it"
            )
        if drop_last:
            raise ValueError("drop_last: a DataLoader has its own, DataLoader(..., drop_last=True)")
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
        check_finite(pair, tensors)
        return _admit_transformed(pair, tensors, transform)
    except (TypeError, ValueError) as error:
        raise say_again(error, f"validation: {error}") from error


def transform_first(data: tuple, transform: Transform | None) -> tuple[Tensor, ...]:
    """The data with their first tensor, x, transformed. They themselves are not changed."""
    if transform is None:
        return data
    return (apply_transform(transform, data[0].clone()), *data[1:])


def _admit_transformed(
    pair: nn.Module, data: tuple, transform: Transform | None
) -> tuple[Tensor, ...]:
    """Admit data as they are trained on. An error says that x was transformed."""
    transformed = transform_first(data, transform)
    with explain_transform(transform):
        return admit(pair, transformed)


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
