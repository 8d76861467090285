"""Relaxations of discrete families: a temperature that a schedule may set."""

from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.arguments import check_positive
from pyro_vae.conditionals.conditional import GivenLike
from pyro_vae.conditionals.family import Family
from pyro_vae.conditionals.shapes import ShapeLike
from pyro_vae.networks import Builder, Shape, mlp


class Relaxed(Family):
    """A family with a temperature, a fixed parameter of one number that can be set anew."""

    required = ("temperature",)

    def __init__(
        self,
        event_shape: ShapeLike,
        given: GivenLike | None = None,
        net: Builder | nn.Module = mlp,
        *,
        temperature: float,
        **options: float | Tensor,
    ):
        temperature = _check_temperature(temperature)
        super().__init__(event_shape, given, net, temperature=temperature, **options)

    @classmethod
    def constraint(cls, key: str) -> constraints.Constraint:
        if key == "temperature":
            return constraints.positive
        return super().constraint(key)

    @property
    def temperature(self) -> Tensor:
        """τ, a buffer of the layout. Setting it changes the buffer in place."""
        return self.layout.fixed_temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        self.layout.fixed_temperature.fill_(_check_temperature(value))

    def options(self) -> dict[str, object]:
        return {**super().options(), "temperature": round(self.temperature.item(), 4)}


def one_number(event: Shape) -> Shape:
    """The shape of a parameter that a whole event shares."""
    return ()


def _check_temperature(value: float | Tensor) -> float:
    return check_positive("temperature", value.item() if isinstance(value, Tensor) else value)
