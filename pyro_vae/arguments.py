"""The checks of plain arguments: whole numbers, numbers within limits, functions, modules."""

import math
import operator
from collections.abc import Iterable
from numbers import Real

import numpy as np
from torch import Tensor, nn

MOST = 2**63 - 1  # torch counts no further
SEEDS = 2**64 - 2  # a seed and the one after it are taken


def check_whole(name: str, value: int, least: int = 1, most: int = MOST) -> int:
    """A whole number as an int. NumPy's whole numbers are welcome, truth values are not.

    Raises:
        TypeError: if it is no whole number.
        ValueError: if it is below `least` or above `most`.

    Example:
        >>> check_whole("epochs", 5)
        5
    """
    expected = "a positive whole number" if least == 1 else f"a whole number of at least {least}"
    message = f"{name}: expected {expected}, got {value!r}"

    if isinstance(value, bool):
        raise TypeError(message)
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(message) from None
    if number < least:
        raise ValueError(message)
    if number > most:
        raise ValueError(f"{name}: expected a whole number of at most {most}, got {value!r}")

    return number


def check_seed(name: str, value: int) -> int:
    """A random seed as an int.

    Raises:
        TypeError: if it is no whole number.
        ValueError: if it is negative, or torch has no such seed.

    Example:
        >>> check_seed("seed", 0)
        0
    """
    return check_whole(name, value, least=0, most=SEEDS)


def check_positive(name: str, value: float) -> float:
    """A finite number above 0 as a float.

    Raises:
        TypeError: if it is no number.
        ValueError: if it is not positive or not finite.

    Example:
        >>> check_positive("learning_rate", 1e-3)
        0.001
    """
    message = f"{name}: expected a positive number, got {value!r}"

    if not is_real_number(value):
        raise TypeError(message)
    if not 0 < value < math.inf:
        raise ValueError(message)

    return float(value)


def check_within(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number between two limits, which it may reach, as a float.

    Raises:
        TypeError: if it is no number.
        ValueError: if it is not finite or beyond a limit.

    Example:
        >>> check_within("beta", 0.5, 0.0, 1.0)
        0.5
    """
    message = f"{name}: expected a finite number{_describe_limits(low, high)}, got {value!r}"

    if not is_real_number(value):
        raise TypeError(message)
    if not math.isfinite(value) or not low <= value <= high:
        raise ValueError(message)

    return float(value)


def check_choice(name: str, value: object, choices: Iterable) -> None:
    """Raise a ValueError unless the value is one of the choices.

    Example:
        >>> check_choice("per", "site", ("dimension", "site"))
    """
    choices = list(choices)
    if value in choices:
        return

    *others, last = map(repr, choices)
    listed = f"{', '.join(others)} or {last}" if others else last
    raise ValueError(f"{name}: expected {listed}, got {value!r}")


def check_flag(name: str, value: bool) -> bool:
    """A truth value as a bool.

    Raises:
        TypeError: if it is none.

    Example:
        >>> check_flag("compile", True)
        True
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {say(value)}")
    return bool(value)


def check_type(name: str, value: object, kinds: type | tuple, expected: str) -> None:
    """Raise a TypeError unless the value is of one of the kinds.

    Example:
        >>> check_type("name", "vae", str, "a string")
    """
    if not isinstance(value, kinds):
        raise TypeError(f"{name}: expected {expected}, got {say(value)}")


def check_function(name: str, value: object, expected: str) -> None:
    """Raise a TypeError unless the value can be called.

    Example:
        >>> check_function("transform", abs, "a function of x")
    """
    if not callable(value):
        raise TypeError(f"{name}: expected {expected}, got {say(value)}")


def check_modules(**modules: object) -> None:
    """Raise a TypeError unless each is a module, as the parts of a pair are.

    Example:
        >>> check_modules(prior=nn.Identity())
    """
    for name, module in modules.items():
        check_type(name, module, nn.Module, "a module, such as pv.Normal(...)")


def check_methods(name: str, value: object, methods: Iterable[str], expected: str) -> None:
    """Raise a TypeError unless it is an object, and no class, with these methods.

    Example:
        >>> check_methods("pair", [], ["append"], "a list")
    """
    has_all = all(callable(getattr(value, method, None)) for method in methods)
    if isinstance(value, type) or not has_all:
        raise TypeError(f"{name}: expected {expected}, got {say(value)}")


def check_pair(pair: object) -> None:
    """Raise a TypeError unless it is a pair, a module with the methods `model` and `guide`.

    Example:
        >>> check_pair(pv.VAE)
        Traceback (most recent call last):
        ...
        TypeError: pair: expected a module with methods model and guide, got the class VAE ...
    """
    expected = "a module with methods model and guide"
    check_methods("pair", pair, ("model", "guide"), expected)
    check_type("pair", pair, nn.Module, expected)


def say(value: object) -> str:
    """What a value is, in a few words.

    Example:
        >>> say("a"), say(np.zeros((3, 2))), say(nn.Linear)
        ("'a'", 'ndarray of shape (3, 2)', 'the class Linear (make one, Linear(...))')
    """
    if isinstance(value, type):
        return f"the class {value.__name__} (make one, {value.__name__}(...))"
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    if value is None or isinstance(value, str | Real):
        return repr(value)
    return type(value).__name__


def is_real_number(value: object) -> bool:
    """Whether it is a number, of Python or NumPy, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _describe_limits(low: float, high: float) -> str:
    if high < math.inf:
        return f" within [{low:g}, {high:g}]"
    if low > -math.inf:
        return f" of at least {low:g}"
    return ""
