"""The variational autoencoder (Kingma & Welling, 2014; Rezende, Mohamed & Wierstra, 2014)."""

import pyro
from torch import Tensor, nn

from pyro_vae.pairs.pair import register
from pyro_vae.supports import describe, same_support


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
                    "enumerate=True: expected a variational whose values can be listed, OneHotCategorical(K), "
                    f"Categorical((), classes=K) or Bernoulli(()), got {self.variational}"
                )
            return pyro.sample("z", q, infer={"enumerate": "parallel"} if self.enumerate else {})

    def __repr__(self) -> str:
        return f"VAE(\n  p(z)   = {self.prior}\n  p(x|z) = {self.likelihood}\n  q(z|x) = {self.variational}\n)"


def _fit_together(prior: nn.Module, likelihood: nn.Module, variational: nn.Module) -> None:
    """Compare the shapes of z and x, and the supports of z, wherever a part says what they are."""
    seen = {
        "z": {
            "prior": _event(prior),
            "likelihood (given)": _given(likelihood),
            "variational": _event(variational),
        },
        "x": {"likelihood": _event(likelihood), "variational (given)": _given(variational)},
    }
    if getattr(prior, "given_shapes", None):
        raise ValueError(f"prior: p(z) is given nothing, got {prior}")
    for symbol, shapes in seen.items():
        known = {role: shape for role, shape in shapes.items() if shape is not None}
        if len(set(known.values())) > 1:
            said = ", ".join(f"{role} {shape}" for role, shape in known.items())
            raise ValueError(
                f"the parts do not agree on the shape of {symbol}: {said}. They must all be equal."
            )
    p, q = (getattr(part, "support", None) for part in (prior, variational))
    if p is not None and q is not None and not same_support(p, q):
        raise ValueError(
            f"the supports of z differ: prior {prior} is over {describe(p)}, variational {variational} over "
            f"{describe(q)}. KL(q(z|x) ‖ p(z)) needs one set for both: take both from families over the same."
        )


def _event(part: nn.Module) -> tuple | None:
    return getattr(part, "event_shape", None)


def _given(part: nn.Module) -> tuple | None:
    shapes = getattr(part, "given_shapes", None)
    if shapes is None:
        return None
    return shapes[0] if len(shapes) == 1 else tuple(shapes)
