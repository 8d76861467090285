"""Weights and states in safetensors files. A file is whole or not there, and none can run code."""

import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pyro_vae.arguments import check_type
from pyro_vae.files import locked, remove_halves, replacing
from pyro_vae.training.kept import join, split

NOTES = "pyro_vae"  # the metadata of a file under which its notes lie
SUMMED = re.compile(r"([0-9a-f]{8}) (.*)", re.DOTALL)  # a checksum before notes, since 0.2.0
PAIR = "pair."  # begins the names of a pair's tensors in the checkpoint of a run
OBJECTIVE = "objective."  # begins the names of those that the objective has beside the pair


def list_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each object once however many names it has."""
    return dict([*module.named_parameters(), *module.named_buffers()])


def copy_into(own: dict[str, Tensor], other: dict[str, Tensor], source: str) -> None:
    """Copy tensors by name.

    Raises:
        ValueError: if they are those of another pair. It names the source.
    """
    check_same(own, other, source)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(other[name])


def check_same(own: dict[str, Tensor], other: dict[str, Any], source: str) -> None:
    """Check that tensors have the same names and shapes.

    Raises:
        ValueError: if they are those of another pair. It names the source.
    """
    differing = [name for name in own if not _has_shape(other.get(name), own[name])]
    differing += [name for name in other if name not in own]
    if differing:
        first = differing[0]
        expected, got = (_describe_shape(tensors.get(first)) for tensors in (own, other))
        raise ValueError(
            f"{source} is of another pair: {len(differing)} tensors differ, the first is {first}, "
            f"expected {expected}, got {got}"
        )


def _has_shape(tensor: Any, like: Tensor) -> bool:
    return isinstance(tensor, Tensor) and tensor.shape == like.shape


def _describe_shape(tensor: Any) -> str:
    return str(tuple(tensor.shape)) if isinstance(tensor, Tensor) else "nothing"


def write_file(path: Path, tensors: dict[str, Tensor], notes: Any) -> None:
    """Write tensors and notes to one file, which is there whole or not at all.

    Raises:
        OSError: if it cannot be written. What was there before stays, whole.
    """
    # copies, for safetensors refuses tensors that share memory
    form = torch.contiguous_format
    copies = {name: t.detach().cpu().clone(memory_format=form) for name, t in tensors.items()}
    text = json.dumps(notes)
    # one entry, for safetensors writes several in any order, and equal weights give equal files
    metadata = {NOTES: f"{sum_up(copies, text)} {text}"}

    try:
        with replacing(path) as half:
            save_file(copies, half, metadata=metadata)
    except (SafetensorError, OSError) as error:
        kept = (
            "the file that was there is still whole" if path.exists() else "no file is left there"
        )
        raise OSError(
            f"cannot write {path} ({error}); {kept}. Make room or get permission, or choose "
            "another path"
        ) from error


def sum_up(tensors: dict[str, Tensor], notes: str) -> str:
    """A checksum of notes, and of tensors with their names, types and shapes.

    It finds damage, not forgery: whoever writes other tensors can write their checksum as well.

    Example:
        >>> sum_up({"a": torch.zeros(2)}, "") == sum_up({"a": torch.zeros(1, 2)}, "")
        False
    """
    total = zlib.crc32(notes.encode())
    for name, tensor in sorted(tensors.items()):
        head = f"{name} {tensor.dtype} {tuple(tensor.shape)}"
        total = zlib.crc32(head.encode(), total)
        total = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, total)
    return f"{total:08x}"


def read_file(path: str | os.PathLike) -> tuple[dict[str, Tensor], Any]:
    """Read the tensors and the notes of a file. Nothing in it can run code.

    Raises:
        ValueError: if the file is missing, truncated, corrupted or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
        notes = json.loads(_check_sum(tensors, metadata))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(f"checkpoint: there is no file {path}") from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"checkpoint: {path} is not a whole safetensors file ({error}); it is truncated, "
            "corrupted or of another kind (pickles are never opened). Take a copy of it, or start "
            "anew"
        ) from error
    return tensors, notes


def _check_sum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """The notes, if all is as it was written. Files of others and of version 0.1.0 have no sum."""
    if NOTES not in metadata and any(SUMMED.fullmatch(text) for text in metadata.values()):
        raise ValueError("its notes have another name")
    text = metadata.get(NOTES, "{}")
    summed = SUMMED.fullmatch(text)
    if summed is None:
        return text
    total, notes = summed.groups()
    if total != sum_up(tensors, notes):
        raise ValueError("its checksum is of other content")
    return notes


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Inside this context one run alone writes a checkpoint. It removes what killed ones left.

    Raises:
        ValueError: if another run writes it now.
    """
    refusal = (
        f"checkpoint: another run writes {path} now; wait until it ends, or choose another path"
    )
    with locked(path, refusal):
        remove_halves(path)
        yield


def write_tree(path: Path, tree: dict) -> None:
    """Write a tree of tensors and plain values to a file, which is there whole or not at all."""
    notes, tensors = split(tree)
    write_file(path, tensors, notes)


def read_tree(path: str | os.PathLike) -> dict:
    """Read what `write_tree` wrote. A file of weights alone gives an empty tree.

    Raises:
        ValueError: if the file is missing, truncated, corrupted or of another kind.
    """
    tensors, notes = read_file(path)
    return _join(notes, tensors, path)


def _join(notes: Any, tensors: dict[str, Tensor], path: str | os.PathLike) -> dict:
    try:
        tree = join(notes, tensors)
        if not isinstance(tree, dict):
            raise ValueError("its notes are no tree")
    except ValueError as error:
        raise ValueError(f"checkpoint: {path} is not a file of this library: {error}") from None
    return tree


def save_weights(pair: nn.Module, path: str | os.PathLike) -> None:
    """Write the weights of a pair to a safetensors file, which is there whole or not at all.

    Arguments:
        pair: The pair, or a part of it, such as the encoder alone.
        path: The file.

    Raises:
        OSError: if it cannot be written. What was there before stays, whole.
    """
    _check_arguments(pair, path)
    write_file(Path(path), list_tensors(pair), {})


def load_weights(pair: nn.Module, path: str | os.PathLike) -> None:
    """Read the weights of a pair from a file of `save_weights`, or from a checkpoint of `fit`.

    From a checkpoint of a run with `patience` it reads the best weights, otherwise the last.

    Raises:
        ValueError: if the file is missing, truncated, or of another pair. It says where they
            differ.
    """
    _check_arguments(pair, path)
    tensors, notes = read_file(path)
    if notes:
        tensors = _choose_weights(_join(notes, tensors, path), path)

    copy_into(list_tensors(pair), tensors, str(path))


def _check_arguments(pair: object, path: object) -> None:
    check_type("pair", pair, nn.Module, "a pair, or a part of one")
    check_type("path", path, (str, os.PathLike), "the path of a file")


def _choose_weights(state: dict, path: str | os.PathLike) -> dict[str, Tensor]:
    """The best weights of the pair in the state of a run, or else the last."""
    try:
        weights = state["best"]["weights"] or state["weights"]
        named = [(name, t) for name, t in weights.items() if isinstance(t, Tensor)]
    except (AttributeError, KeyError, TypeError):
        raise ValueError(f"checkpoint: {path} is not a file of this library: no weights") from None
    return {name.removeprefix(PAIR): t for name, t in named if name.startswith(PAIR)}
