"""The variational autoencoder (Kingma & Welling, 2014; Rezende, Mohamed & Wierstra, 2014)."""

import pyro
from torch import Tensor, nn

from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.pairs.parameters import register
from pyro_vae.supports import describe, is_same_support


class VAE(nn.Module):
    r"""z ~ p(z), x ~ p(x | z), and z ~ q(z | x).

    .. math:: \log p(x) = E_{q(z|x)}[\log p(x, z) - \log q(z|x)] + KL(q(z|x) \,\|\, p(z|x))

    Arguments:
        prior: p(z), a conditional that is given nothing.
        likelihood: p(x | z), given z.
        variational: q(z | x), given x.
        name: Under which the parameters are registered with Pyro; two pairs in one process that
            train under stock `SVI` need two names.
        enumerate: Mark z for enumeration: under `TraceEnum_ELBO(max_plate_nesting=1)` the ELBO and
            its gradient are then sums over all values of z, without draws. For a q(z | x) of few
            values: `OneHotCategorical(K)`, `Categorical((), classes=K)`, `Bernoulli(())`.

    Raises:
        ValueError: if the three do not fit together, in their shapes or in the supports of prior
            and variational; at a call, if z is to be enumerated and cannot be.

    Example:
        >>> import torch, pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(20),
        ...     likelihood=pv.Bernoulli((1, 28, 28), given=20),
        ...     variational=pv.Normal(20, given=(1, 28, 28)),
        ... )
        >>> vae
        VAE(
          p(z)   = StandardNormal((20,))
          p(x|z) = Bernoulli((1, 28, 28) | (20,))
          q(z|x) = Normal((20,) | (1, 28, 28))
        )
        >>> vae.guide(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 20])
    """

    def __init__(
        self,
        *,
        prior: nn.Module,
        likelihood: nn.Module,
        variational: nn.Module,
        name: str = "vae",
        enumerate: bool = False,
    ):
        super().__init__()

        _fit_together(prior, likelihood, variational)
        self.prior = prior
        self.likelihood = likelihood
        self.variational = variational
        self.name = name
        self.enumerate = enumerate

    def model(self, x: Tensor) -> Tensor:
        register(self, self.name)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x: Tensor) -> Tensor:
        register(self, self.name)
        with pyro.plate("data", x.shape[0]):
            q = self.variational(x)
            if self.enumerate and not q.has_enumerate_support:
                raise ValueError(
                    "enumerate=True: expected a variational whose values can be listed, "
                    "OneHotCategorical(K), Categorical((), classes=K) or Bernoulli(()), "
                    f"got {self.variational}"
                )
            return pyro.sample("z", q, infer={"enumerate": "parallel"} if self.enumerate else {})

    def __repr__(self) -> str:
        return (
            "VAE(\n"
            f"  p(z)   = {self.prior}\n"
            f"  p(x|z) = {self.likelihood}\n"
            f"  q(z|x) = {self.variational}\n"
            ")"
        )


def _fit_together(prior: nn.Module, likelihood: nn.Module, variational: nn.Module) -> None:
    """Compare the shapes of z and x, and the supports of z, wherever a part says what they are."""
    if _given(prior):
        raise ValueError(f"prior: p(z) is given nothing, got {prior}")

    shapes_of_z = {
        "prior": _event(prior),
        "likelihood (given)": _given(likelihood),
        "variational": _event(variational),
    }
    shapes_of_x = {
        "likelihood": _event(likelihood),
        "variational (given)": _given(variational),
    }
    _compare_shapes("z", shapes_of_z)
    _compare_shapes("x", shapes_of_x)
    _compare_supports(prior, variational)


def _compare_shapes(symbol: str, shapes: dict[str, tuple | None]) -> None:
    known = {role: shape for role, shape in shapes.items() if shape is not None}
    if len(set(known.values())) <= 1:
        return

    said = ", ".join(f"{role} {shape}" for role, shape in known.items())
    raise ValueError(
        f"the parts do not agree on the shape of {symbol}: {said}. They must all be equal."
    )


def _compare_supports(prior: nn.Module, variational: nn.Module) -> None:
    if not isinstance(prior, Conditional) or not isinstance(variational, Conditional):
        return
    p, q = prior.support, variational.support
    if p is None or q is None or is_same_support(p, q):
        return

    raise ValueError(
        f"the supports of z differ: prior {prior} is over {describe(p)}, variational {variational} "
        f"over {describe(q)}. KL(q(z|x) ‖ p(z)) needs one set for both: take both from families "
        "over the same."
    )


def _event(part: nn.Module) -> tuple | None:
    return part.event_shape if isinstance(part, Conditional) else None


def _given(part: nn.Module) -> tuple | None:
    if not isinstance(part, Conditional):
        return None
    shapes = tuple(part.given_shapes)
    return shapes[0] if len(shapes) == 1 else shapes
