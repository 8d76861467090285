"""The names that a saved pair may use, and what they stand for."""

import functools
import importlib
from collections.abc import Collection
from typing import Any

import zuko
from torch import nn

from pyro_vae import conditionals, networks
from pyro_vae.conditionals.responsibilities import Responsibilities
from pyro_vae.pairs.hierarchical import HierarchicalVAE
from pyro_vae.pairs.labelled import LabelledVAE
from pyro_vae.pairs.multimodal import MultimodalVAE
from pyro_vae.pairs.sequence import SequenceVAE
from pyro_vae.pairs.vae import VAE
from pyro_vae.recipes import Recorded

PAIRS = (VAE, HierarchicalVAE, LabelledVAE, MultimodalVAE, SequenceVAE)
NETWORKS = (
    "mlp",
    "conv",
    "topics",
    "gated",
    "masked",
    "logged",
    "standardised",
    "spread",
    "Backward",
)


def _list_classes(module: Any, base: type) -> dict[str, Any]:
    found = {name: value for name, value in vars(module).items() if isinstance(value, type)}
    return {name: value for name, value in found.items() if issubclass(value, base)}


def _list_known() -> dict[str, Any]:
    """All that can be named without naming a module."""
    known: dict[str, Any] = {pair.__name__: pair for pair in PAIRS}
    known |= _list_classes(conditionals, Recorded)
    known |= {"Responsibilities": Responsibilities, "IAF": conditionals.IAF}
    known |= {f"networks.{name}": getattr(networks, name) for name in NETWORKS}

    named = {"nn": _list_classes(nn.modules.activation, nn.Module)}
    named["nn"] |= _list_classes(nn.modules.rnn, nn.RNNBase)
    named["zuko"] = _list_classes(zuko.flows, zuko.flows.Flow)
    known |= {f"{own}.{name}": v for own, values in named.items() for name, v in values.items()}
    return known | {"partial": functools.partial}


KNOWN = _list_known()
SHORT = {f"{value.__module__}:{value.__qualname__}": name for name, value in KNOWN.items()}


def shorten(text: str) -> str:
    """The name that stands for "module:name" in a file.

    Example:
        >>> shorten("pyro_vae.conditionals.real:Normal")
        'Normal'
    """
    return SHORT.get(text, text)


def find(name: Any, trusted: Collection[str]) -> Any:
    """What a name stands for.

    Arguments:
        name: One that is known, or "module:name".
        trusted: The packages from which something may be imported.

    Raises:
        ValueError: if it is neither known nor of a trusted package, or is not there.

    Example:
        >>> find("Normal", [])
        <class 'pyro_vae.conditionals.real.Normal'>
        >>> find("os:system", [])
        Traceback (most recent call last):
        ValueError: 'os:system' is no part of this library...
    """
    if not isinstance(name, str):
        raise ValueError(f"expected the name of a part, got {name!r}")
    if name in KNOWN:
        return KNOWN[name]

    package = name.partition(":")[0].partition(".")[0]
    if package not in trusted:
        raise ValueError(
            f"{name!r} is no part of this library, and loading runs no code of others; if you "
            f"trust the package {package!r}, pass trusted=[{package!r}]"
        )
    return _import(name)


def _import(name: str) -> Any:
    module, _, path = name.partition(":")
    try:
        return functools.reduce(getattr, path.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name!r} cannot be imported: {error}") from error
