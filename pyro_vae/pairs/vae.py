"""The variational autoencoder (Kingma & Welling, 2014; Rezende, Mohamed & Wierstra, 2014)."""

from collections.abc import Sequence

import pyro
from torch import Tensor, nn

from pyro_vae.arguments import check_flag
from pyro_vae.pairs.admission import ChecksData
from pyro_vae.pairs.covariates import Covariates, Shape
from pyro_vae.pairs.parameters import register
from pyro_vae.pairs.parts import (
    check_parts,
    compare_shapes,
    compare_supports,
    find_event,
    find_given,
    write_story,
)


class VAE(ChecksData):
    r"""z ~ p(z), x ~ p(x | z), and z ~ q(z | x).

    .. math:: \log p(x) = E_{q(z|x)}[\log p(x, z) - \log q(z|x)] + KL(q(z|x) \,\|\, p(z|x))

    Covariates c may follow x. A part that is given them declares their shapes after its own
    variable: p(z | c), p(x | z, c), q(z | x, c). Every measurement is then about p(x | c). (Sohn,
    Lee & Yan, 2015)

    Arguments:
        prior: p(z), a conditional that is given nothing; or p(z | c).
        likelihood: p(x | z), given z; or p(x | z, c).
        variational: q(z | x), given x; or q(z | x, c).
        covariates: The shapes of the covariates, in the order in which they follow x. By default
            those of the part that declares most.
        name: The name under which the parameters are registered with Pyro. Two pairs that live at
            the same time and train under stock `SVI` need two names.
        enumerate: Sum over all values of z, instead of drawing it. This needs a q(z | x) of few
            values: `OneHotCategorical(K)`, `Categorical((), classes=K)`, `Bernoulli(())`.
            `TraceEnum_ELBO(max_plate_nesting=1)` sums as well.

    Raises:
        TypeError: if a part is no module.
        ValueError: if the parts do not fit together, in their shapes or in the supports of prior
            and variational. At a call, if z is to be summed over and cannot be.
        TypeError: at a call, if another number of covariates is given.

    Example:
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
        >>> pv.VAE(
        ...     prior=pv.StandardNormal(20),
        ...     likelihood=pv.Bernoulli((1, 28, 28), given=[20, 10]),
        ...     variational=pv.Normal(20, given=[(1, 28, 28), 10]),
        ... )
        VAE(
          p(z)     = StandardNormal((20,))
          p(x|z,c) = Bernoulli((1, 28, 28) | (20,), (10,))
          q(z|x,c) = Normal((20,) | (1, 28, 28), (10,))
        )
    """

    def __init__(
        self,
        *,
        prior: nn.Module,
        likelihood: nn.Module,
        variational: nn.Module,
        covariates: Sequence[Shape] | None = None,
        name: str = "vae",
        enumerate: bool = False,
    ):
        super().__init__()

        check_parts(name, prior=prior, likelihood=likelihood, variational=variational)
        check_flag("enumerate", enumerate)
        _fit_together(prior, likelihood, variational)
        self.prior = prior
        self.likelihood = likelihood
        self.variational = variational
        self.name = name
        self.enumerate = enumerate
        parts = {
            "prior": (prior, 0),
            "likelihood": (likelihood, 1),
            "variational": (variational, 1),
        }
        self.covariates = Covariates(parts, covariates)

    def model(self, x: Tensor, *c: Tensor) -> Tensor:
        register(self, self.name)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self.prior(*self.covariates.choose("prior", c)))
            p = self.likelihood(z, *self.covariates.choose("likelihood", c))
            return pyro.sample("x", p, obs=x)

    def guide(self, x: Tensor, *c: Tensor) -> Tensor:
        register(self, self.name)
        with pyro.plate("data", x.shape[0]):
            q = self.variational(x, *self.covariates.choose("variational", c))
            if self.enumerate:
                return pyro.sample("z", self._check_values(q), infer={"enumerate": "parallel"})
            return pyro.sample("z", q)

    def check_data(self, x: Tensor, *c: Tensor) -> None:
        self.covariates.check(c)

    def __repr__(self) -> str:
        parts = {
            self._label("p", "z", "", "prior"): self.prior,
            self._label("p", "x", "z", "likelihood"): self.likelihood,
            self._label("q", "z", "x", "variational"): self.variational,
        }
        return write_story(type(self).__name__, parts)

    def _label(self, density: str, variable: str, own: str, role: str) -> str:
        """A part as it is written, p(x|z,c) for example."""
        given = [own] if own else []
        if self.covariates.places[role]:
            given.append("c")
        bar = "|" if given else ""
        return f"{density}({variable}{bar}{','.join(given)})"

    def _check_values(self, q):
        if q.has_enumerate_support:
            return q
        raise ValueError(
            "enumerate=True: expected a variational whose values can be listed, "
            "OneHotCategorical(K), Categorical((), classes=K) or Bernoulli(()), got "
            f"{self.variational}"
        )


def _fit_together(prior: nn.Module, likelihood: nn.Module, variational: nn.Module) -> None:
    """Compare the shapes of z and x, and the supports of z, wherever a part says what they are."""
    shapes_of_z = {
        "prior": find_event(prior),
        "likelihood (given)": find_given(likelihood),
        "variational": find_event(variational),
    }
    shapes_of_x = {
        "likelihood": find_event(likelihood),
        "variational (given)": find_given(variational),
    }
    compare_shapes("z", shapes_of_z)
    compare_shapes("x", shapes_of_x)
    compare_supports("z", prior, variational)
