"""Whether the parts of a pair fit together, in their shapes and supports."""

from collections.abc import Mapping, Sequence  # noqa: F401  for the example
from typing import Any

from torch import nn

from pyro_vae.arguments import check_type
from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.supports import describe, is_same_support

Shape = tuple[int, ...]


def check_parts(name: str, **parts: object) -> None:
    """Raise a TypeError unless the name of a pair is a string, and each of its parts a module.

    Example:
        >>> check_parts("vae", prior=pv.StandardNormal(2))
    """
    check_type("name", name, str, "a string")
    for role, part in parts.items():
        check_type(role, part, nn.Module, "a module, such as pv.Normal(2, given=3)")


def check_several(role: str, parts: Any, kind: type, expected: str) -> None:
    """Raise a TypeError unless it is a list of modules, or a mapping to modules.

    Example:
        >>> check_several("priors", [pv.StandardNormal(2)], Sequence, "a list of modules")
    """
    check_type(role, parts, kind, expected)
    for part in parts.values() if isinstance(parts, Mapping) else parts:
        check_type(role, part, nn.Module, expected)


def find_event(part: nn.Module) -> Shape | None:
    """The shape of what a part is a distribution over, or None where it does not say."""
    return part.event_shape if isinstance(part, Conditional) else None


def find_given(part: nn.Module, place: int = 0) -> Shape | None:
    """The shape of a variable that a part is given, or None where it does not say."""
    if not isinstance(part, Conditional):
        return None
    return part.given_shapes[place] if len(part.given_shapes) > place else ()


def compare_shapes(symbol: str, shapes: dict[str, Shape | None]) -> None:
    """Raise a ValueError unless all shapes that are known are equal.

    Arguments:
        symbol: The variable whose shape they all are.
        shapes: The shapes by role.
    """
    known = {role: shape for role, shape in shapes.items() if shape is not None}
    if len(set(known.values())) <= 1:
        return

    said = ", ".join(f"{role} {shape}" for role, shape in known.items())
    raise ValueError(
        f"the parts do not agree on the shape of {symbol}: {said}. They must all be equal."
    )


def compare_supports(symbol: str, prior: nn.Module, variational: nn.Module) -> None:
    """Raise a ValueError if prior and variational are over two different sets."""
    if not isinstance(prior, Conditional) or not isinstance(variational, Conditional):
        return
    p, q = prior.support, variational.support
    if p is None or q is None or is_same_support(p, q):
        return

    raise ValueError(
        f"the supports of {symbol} differ: prior {prior} is over {describe(p)}, variational "
        f"{variational} over {describe(q)}. KL(q({symbol}|x) ‖ p({symbol})) needs one set for "
        "both: take both from families over the same."
    )


def write_story(name: str, parts: dict[str, object]) -> str:
    """A pair as it is printed: a line for each part, with the signs below each other.

    Example:
        >>> parts = {"p(z)": "StandardNormal((2,))", "p(x|z)": "Normal((3,) | (2,))"}
        >>> print(write_story("VAE", parts))
        VAE(
          p(z)   = StandardNormal((2,))
          p(x|z) = Normal((3,) | (2,))
        )
    """
    width = max(map(len, parts))
    lines = [f"  {label:<{width}} = {part}" for label, part in parts.items()]

    return "\n".join([f"{name}(", *lines, ")"])
