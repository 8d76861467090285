"""How numbers become the parameters of a distribution."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.arguments import as_tensor, check_whole, is_real_number
from pyro_vae.conditionals.channels import arrange, choose_out_shape
from pyro_vae.conditionals.constrain import constrain
from pyro_vae.conditionals.shapes import ShapeLike, as_shape, call_shape, find_sizes
from pyro_vae.networks import Shape

if TYPE_CHECKING:
    from pyro_vae.conditionals.family import Family

WORDS = ("shared", "free")


class Layout(nn.Module):
    """How numbers become the parameters of a family's distribution.

    Each parameter is one of three kinds. A *fixed* one is a buffer. A *learned* one is a parameter
    of this module, the same whatever is given: "shared" is one number for the whole event, "free"
    is one for each entry. Any other is *computed* from numbers, such as those of a network.

    `Family.lay_out` makes it.

    Arguments:
        family: The class of the family. It declares the distribution and its parameters.
        event_shape: The shape of an event.
        options: Sizes (`classes`), fixed parameters, and "shared" or "free" for learned ones.

    Attributes:
        event_shape: The shape of an event, a tuple.
        sizes: The sizes that shapes depend on, `{"classes": 10}`.
        shapes: The shape of each parameter.
        fixed, learned: What was chosen for a parameter, by name.
        computed: The names of those computed, in the order of their numbers.
        numbers: How many numbers are taken.
        out_shape: The shape in which a network returns them.

    Raises:
        TypeError: if an option is missing, unknown, or of another type.
        ValueError: if a fixed parameter lies outside its constraint, or the event has a shape that
            the family refuses.

    Example:
        >>> from pyro_vae.conditionals import Normal
        >>> layout = Normal.lay_out((1, 28, 28))
        >>> layout.numbers, layout.out_shape
        (1568, (2, 28, 28))
        >>> layout.at(torch.zeros(5, 1568)).batch_shape
        torch.Size([5])
    """

    def __init__(
        self,
        family: "type[Family]",
        event_shape: ShapeLike,
        options: Mapping[str, float | Tensor | str],
    ):
        super().__init__()

        options = {**family.defaults, **options}
        _check_names(family, options)
        self.family = family
        self.event_shape = as_shape("event_shape", event_shape)
        self.learned = {key: how for key, how in options.items() if _is_word(family, key, how)}
        self.sizes = _choose_sizes(family, options)
        self.shapes = _find_shapes(family, self.event_shape, self.sizes)
        self.computed = [key for key in self.shapes if key not in options]
        set_by_hand = [key for key in self.shapes if key in options and key not in self.learned]
        self.fixed = {key: options[key] for key in set_by_hand}
        self.numbers = sum(math.prod(self.shapes[key]) for key in self.computed)
        self.out_shape = choose_out_shape(self.event_shape, self.numbers)

        for key in self.learned:
            self._learn(key)
        for key in self.fixed:
            self._fix(key)

    def at(self, numbers: Tensor) -> dist.TorchDistribution:
        """The distribution over events at numbers `[*batch, numbers]`, of that batch_shape."""
        return self.distribute(self.parametrise(numbers))

    def distribute(self, values: Mapping[str, Tensor]) -> dist.TorchDistribution:
        """The distribution over events that has these parameters."""
        return self._join(self.family.distribution(**values))

    def entries_at(self, numbers: Tensor) -> dist.TorchDistribution:
        """The same, while its class still has the entries of an event as a batch."""
        return self.family.distribution(**self.parametrise(numbers))

    def parametrise(self, numbers: Tensor) -> dict[str, Tensor]:
        """The parameters at numbers `[*batch, numbers]`."""
        chunks = take_apart(numbers, [math.prod(self.shapes[key]) for key in self.computed])

        values = {key: self.get_buffer(f"fixed_{key}") for key in self.fixed}
        for key, chunk in zip(self.computed, chunks, strict=True):
            arranged = arrange(chunk, self.shapes[key], self.event_shape)
            values[key] = constrain(self.family.constraint(key), arranged)
        for key in self.learned:
            value = constrain(self.family.constraint(key), self.get_parameter(f"{key}_raw"))
            values[key] = value.expand(self.event_shape)

        return self.family.adjust(values, self.computed)

    def start(self) -> Tensor:
        """Numbers `[numbers]` at which free ones start: zeros, or random where the family asks."""
        if self.family.starts_at_random:
            return torch.randn(self.numbers)
        return torch.zeros(self.numbers)

    def example(self) -> dist.TorchDistribution:
        """`entries_at` zeros. Its support, shapes and kind of draws are those at any numbers."""
        like = next(itertools.chain(self.parameters(), self.buffers()), torch.zeros(()))
        with torch.no_grad():
            return self.entries_at(torch.zeros(self.numbers, device=like.device))

    @property
    def support(self) -> constraints.Constraint:
        """The set of events."""
        return self._join(self.example()).support

    def find_entries(self) -> Tensor:
        """The entry of the event, in memory order, to which each number belongs, `[numbers]`."""
        entries = math.prod(self.event_shape)
        counts = [math.prod(self.shapes[key]) for key in self.computed]

        return torch.cat([torch.arange(count) % entries for count in counts])

    def options(self) -> dict[str, object]:
        """What was chosen, in the words of `repr`."""
        fixed = {}
        for key, value in self.fixed.items():
            fixed[key] = value if isinstance(value, float | int) else "tensor"

        return {**self.sizes, **fixed, **self.learned}

    def _join(self, p: dist.TorchDistribution) -> dist.TorchDistribution:
        return p.to_event(len(self.event_shape) - p.event_dim)

    def _learn(self, key: str) -> None:
        is_shared = self.learned[key] == "shared"
        start = torch.zeros(() if is_shared else self.event_shape)
        self.register_parameter(f"{key}_raw", nn.Parameter(start))

    def _fix(self, key: str) -> None:
        value, shape = _as_floating(key, self.fixed[key]), self.shapes[key]
        constraint = self.family.constraint(key)
        try:
            value = value.expand(shape).clone()
        except RuntimeError:
            raise ValueError(
                f"{key}: expected a number or a tensor of shape {shape}, "
                f"got shape {tuple(value.shape)}"
            ) from None
        if not value.isfinite().all() or not constraint.check(value).all():
            raise ValueError(
                f"{key}: expected finite values within {constraint}, got {_describe(value)}"
            )
        self.register_buffer(f"fixed_{key}", value)


def take_apart(numbers: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Numbers `[*batch, numbers]` in consecutive pieces of the given sizes.

    A compiled `Tensor.split` keeps the strides of the first batch, and fails at a smaller one.
    Slices do not.
    """
    ends = itertools.accumulate(sizes)
    return [numbers[..., end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _check_names(family: "type[Family]", options: Mapping[str, object]) -> None:
    shapes = family.parameter_shapes
    sizes = find_sizes(shapes)
    unknown = options.keys() - sizes.keys() - shapes.keys()
    if unknown:
        raise TypeError(
            f"{family.__name__} has no parameter or option {', '.join(sorted(unknown))}; "
            f"parameters that can be fixed: {', '.join(shapes)}; "
            f"options: {', '.join(sizes) or 'none'}"
        )

    for key in shapes.keys() - options.keys():
        constraint = family.constraint(key)
        if constraint.is_discrete or key in family.required:
            raise TypeError(f"{family.__name__} needs {key}=, {constraint}")


def _is_word(family: "type[Family]", key: str, how: object) -> bool:
    """Whether a parameter is to be learned. A word that does not fit is refused."""
    if not isinstance(how, str) or key not in family.parameter_shapes:
        return False

    has_own_shape = family.parameter_shapes[key] is not None
    if how not in WORDS or has_own_shape or family.constraint(key).is_discrete:
        raise ValueError(
            f"{key}: expected a number, a tensor, or for a parameter of the event's shape 'shared' "
            f"(one learned number) or 'free' (one for each entry), got {how!r}"
        )
    return True


def _choose_sizes(family: "type[Family]", options: Mapping[str, object]) -> dict[str, int]:
    sizes = {}
    for key, default in find_sizes(family.parameter_shapes).items():
        value = options.get(key, default)
        if value is None:
            raise TypeError(f"{family.__name__} needs {key}=, a positive whole number")
        sizes[key] = check_whole(key, value)
    return sizes


def _find_shapes(
    family: "type[Family]", event_shape: Shape, sizes: Mapping[str, int]
) -> dict[str, Shape]:
    try:
        return {
            key: call_shape(shape, event_shape, sizes)
            for key, shape in family.parameter_shapes.items()
        }
    except ValueError as error:
        raise ValueError(f"{family.__name__}: {error}") from error


def _as_floating(name: str, value: object) -> Tensor:
    """A number as a tensor of the default type. A floating tensor keeps its own."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach()
    if not is_real_number(value):
        value = as_tensor(name, value)
    return torch.as_tensor(value, dtype=torch.get_default_dtype())


def _describe(value: Tensor) -> str:
    low, high = value.min().item(), value.max().item()
    return f"{low:g}" if low == high else f"values from {low:g} to {high:g}"
