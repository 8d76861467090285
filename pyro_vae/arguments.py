"""The checks of plain arguments: a whole number, a number within limits, one of a list."""

import math
import operator
from collections.abc import Iterable
from numbers import Real


def check_whole(name: str, value: int, least: int = 1) -> int:
    """A whole number as an int. NumPy's whole numbers are welcome, truth values are not.

    Raises:
        TypeError: if it is no whole number.
        ValueError: if it is below `least`.

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

    return number


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


def is_real_number(value: object) -> bool:
    """Whether it is a number, of Python or NumPy, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _describe_limits(low: float, high: float) -> str:
    if high < math.inf:
        return f" within [{low:g}, {high:g}]"
    if low > -math.inf:
        return f" of at least {low:g}"
    return ""
