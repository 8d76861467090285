"""A pair as a folder: what it is made of in JSON, and its tensors beside it."""

import json
import os
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_type
from pyro_vae.files import locked, remove_halves, replacing
from pyro_vae.sharing.reading import Reader
from pyro_vae.sharing.writing import Writer
from pyro_vae.training.checkpoints import (
    check_same,
    list_tensors,
    read_file,
    sum_up,
    write_file,
)

CONFIG = "config.json"
FORMAT = 1  # of the folder; it grows when an older version could not read it
PATH = "the path of a folder"


def save(pair: nn.Module, folder: str | os.PathLike) -> None:
    """Write a pair to a folder, from which it is loaded without the code that built it.

    `config.json` says what the pair is made of, and a safetensors file beside it holds its numbers.
    The folder always holds a whole pair: this one, or the one that was there before.

    A network of your own is kept by the name of the function that builds it. That function stands
    at the top of a file which both processes can import.

    Arguments:
        pair: The pair, or a conditional alone.
        folder: The folder. It is made if it is not there.

    Raises:
        ValueError: if a part cannot be made again elsewhere, such as a network that a lambda
            builds, or a `Pair` of functions. It says which. Nothing is written then.
        OSError: if the folder cannot be written.

    Example:
        >>> import tempfile
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> folder = tempfile.mkdtemp()
        >>> save(vae, folder)
        >>> load(folder)
        VAE(
          p(z)   = StandardNormal((2,))
          p(x|z) = Bernoulli((3,) | (2,))
          q(z|x) = Normal((2,) | (3,))
        )
    """
    check_type("pair", pair, nn.Module, "a pair, or a conditional")
    check_type("folder", folder, (str, os.PathLike), PATH)
    writer = Writer()
    written = writer.write(pair, "pair")
    tensors = {f"pair.{name}": tensor for name, tensor in list_tensors(pair).items()}
    _check_copy(written, tensors, writer.tensors)

    frozen = [name for name, value in pair.named_parameters() if not value.requires_grad]
    _write(Path(folder), {"pair": written, "frozen": frozen}, tensors | writer.tensors)


def _check_copy(written: Any, tensors: dict[str, Tensor], arguments: dict[str, Tensor]) -> None:
    """Refuse a pair that was changed by hand after it was made, so that another comes back."""
    modules = [name.partition(":")[0].partition(".")[0] for name in _list_names(written)]
    copy = _make(written, arguments, modules)
    source = "pair: what it was made with"
    check_same({f"pair.{name}": t for name, t in list_tensors(copy).items()}, tensors, source)


def _list_names(written: Any) -> list[str]:
    """The names of all that is imported."""
    if isinstance(written, list):
        return [name for part in written for name in _list_names(part)]
    if not isinstance(written, dict):
        return []
    own = [written[key] for key in ("call", "name") if isinstance(written.get(key), str)]
    return own + [name for part in written.values() for name in _list_names(part)]


def _write(folder: Path, config: dict, tensors: dict[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CONFIG
    with locked(path, f"folder: another process writes {folder} now; wait until it ends"):
        remove_halves(path)
        # the tensors have a name of their own, so that the old config goes with the old ones
        file = f"weights-{_sum_up(tensors)}.safetensors"
        write_file(folder / file, tensors, {})
        head = {"format": FORMAT, "pyro_vae": version("pyro_vae"), "weights": file}
        with replacing(path) as half:
            half.write_text(json.dumps(head | config, indent=1) + "\n")
        for old in folder.glob("weights-????????.safetensors"):
            if old.name != file:
                old.unlink(missing_ok=True)


def _sum_up(tensors: dict[str, Tensor]) -> str:
    form = torch.contiguous_format
    copies = {name: t.detach().cpu().clone(memory_format=form) for name, t in tensors.items()}
    return sum_up(copies, "")


def load(folder: str | os.PathLike, *, trusted: Collection[str] = ()) -> nn.Module:
    """Make the pair that `save` wrote to a folder.

    Nothing in the folder can run code. Every name in it is one of this library's own parts, or a
    part of torch or zuko that this library takes, and everything else is refused.

    Arguments:
        folder: The folder.
        trusted: The packages whose functions and classes may be imported, where the pair has
            networks of your own.

    Returns:
        The pair, with numbers of the same types on the CPU, in evaluation mode.

    Raises:
        ValueError: if the folder lacks a file, a file is truncated or of a later version, or a name
            is neither known nor of a trusted package.
    """
    check_type("folder", folder, (str, os.PathLike), PATH)
    if isinstance(trusted, str):
        trusted = [trusted]
    path = Path(folder)
    config = _read_config(path / CONFIG)
    tensors, _ = read_file(path / config["weights"])
    own = {name[5:]: tensor for name, tensor in tensors.items() if name.startswith("pair.")}
    try:
        pair = _make(config["pair"], tensors, trusted)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path / CONFIG}: {error}") from error

    _put_in(pair, own, str(path))
    for name, parameter in pair.named_parameters():
        parameter.requires_grad_(name not in config["frozen"])
    return pair.eval()


def _make(written: Any, tensors: dict[str, Tensor], trusted: Collection[str]) -> nn.Module:
    """The pair, with numbers that are still to be replaced. The random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        pair = Reader(tensors, trusted).read(written)
    if not isinstance(pair, nn.Module):
        raise ValueError(f"expected a pair, got {pair!r}")
    return pair


def _put_in(pair: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Give a pair its tensors, with the types that they were saved with."""
    own = list_tensors(pair)
    check_same(own, tensors, source)
    for name, tensor in own.items():
        tensor.data = tensors[name]


def _read_config(path: Path) -> dict:
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(
            f"folder: there is no {path}; expected a folder that pv.save wrote"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is truncated, or of another kind: {error}") from error

    number = config.get("format") if isinstance(config, dict) else None
    if not isinstance(number, int):
        raise ValueError(f"{path} is of another kind: it has no number of its format")
    if number > FORMAT:
        raise ValueError(
            f"{path} was written by pyro_vae {config.get('pyro_vae')}, in a format that this "
            "version does not know; install that version or a later one"
        )
    return _check_entries(config, path)


def _check_entries(config: dict, path: Path) -> dict:
    expected = {"weights": str, "pair": dict, "frozen": list}
    for name, kind in expected.items():
        if not isinstance(config.get(name), kind):
            raise ValueError(f"{path}: {name} is {config.get(name)!r}, expected a {kind.__name__}")
    if Path(config["weights"]).name != config["weights"]:
        raise ValueError(f"{path}: weights is {config['weights']!r}, expected a file beside it")
    return config
