"""The VAE with labels: M2 (Kingma, Rezende, Mohamed & Welling, 2014), and clustering models.

With no label known it is a Gaussian mixture VAE, as VaDE is one (Jiang et al., 2017).
"""

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import one_hot

from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.pairs.admission import ChecksData
from pyro_vae.pairs.parameters import register
from pyro_vae.pairs.parts import (
    check_parts,
    compare_shapes,
    compare_supports,
    find_event,
    find_given,
    write_story,
)
from pyro_vae.supports import is_same_support

UNKNOWN = -1


class LabelledVAE(ChecksData):
    r"""y ~ p(y), z ~ p(z | y), x ~ p(x | z, y), where y is given, partly given, or never given.

    .. math:: p(x, y, z) = p(y) \, p(z \mid y) \, p(x \mid z, y)

    The variational draws y ~ q(y | x) where it is not known, and then z ~ q(z | x, y). All values
    of y are summed over. A part that is not given y says a simpler model: p(z) instead of p(z | y),
    p(x | z) instead of p(x | z, y), q(z | x) instead of q(z | x, y).

    The labels follow x, whole numbers `[n]`, with -1 where a label is not known. Without them no
    label is known. The weight of a row whose label is known is that of log p(x, y). The weight of
    any other row is that of log p(x).

    Arguments:
        labels: p(y), one-hot, `OneHotCategorical(K)` for example.
        prior: p(z), or p(z | y).
        likelihood: p(x | z), or p(x | z, y).
        classifier: q(y | x), one-hot.
        variational: q(z | x), or q(z | x, y).
        name: The name under which the parameters are registered with Pyro.

    Raises:
        ValueError: if the shapes or supports of the parts do not fit together. When data are
            admitted, if a label is beyond the classes.
        TypeError: when data are admitted, if labels are no whole numbers.

    Example:
        >>> pair = LabelledVAE(
        ...     labels=pv.OneHotCategorical(10, logits=0.0),
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(8, given=[2, 10]),
        ...     classifier=pv.OneHotCategorical(10, given=8),
        ...     variational=pv.Normal(2, given=[8, 10]),
        ... )
        >>> pair
        LabelledVAE(
          p(y)     = OneHotCategorical((10,), logits=0.0)
          p(z)     = StandardNormal((2,))
          p(x|z,y) = Bernoulli((8,) | (2,), (10,))
          q(y|x)   = OneHotCategorical((10,) | (8,))
          q(z|x,y) = Normal((2,) | (8,), (10,))
        )
        >>> elbo = pv.EvidenceLowerBound()
        >>> x, y = torch.ones(5, 8), torch.tensor([0, 3, -1, -1, 9])
        >>> pv.Objective(pair, elbo)(x, y).shape
        torch.Size([])
    """

    def __init__(
        self,
        *,
        labels: nn.Module,
        prior: nn.Module,
        likelihood: nn.Module,
        classifier: nn.Module,
        variational: nn.Module,
        name: str = "labelled",
    ):
        super().__init__()

        check_parts(
            name,
            labels=labels,
            prior=prior,
            likelihood=likelihood,
            classifier=classifier,
            variational=variational,
        )
        self.labels = labels
        self.prior = prior
        self.likelihood = likelihood
        self.classifier = classifier
        self.variational = variational
        self.name = name
        self._fit_together()

    @property
    def classes(self) -> int:
        """How many values y has."""
        return self.labels.event_shape[-1]

    def model(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        register(self, self.name)
        with pyro.plate("data", x.shape[0]):
            label = self._sample_label(x, y)
            z = pyro.sample("z", call_with(self.prior, (), label))
            return pyro.sample("x", call_with(self.likelihood, (z,), label), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        register(self, self.name)
        with pyro.plate("data", x.shape[0]):
            label = self._guess_label(x, y)
            return pyro.sample("z", call_with(self.variational, (x,), label))

    def _sample_label(self, x: Tensor, y: Tensor | None) -> Tensor:
        """y ~ p(y), observed where it is known."""
        if y is None:
            return pyro.sample("y", self.labels())
        is_known, given = self.read(x, y)
        return pyro.sample("y", self.labels(), obs=given, obs_mask=is_known)

    def _guess_label(self, x: Tensor, y: Tensor | None) -> Tensor:
        """y ~ q(y | x) where it is not known, with all values listed."""
        if y is None:
            return pyro.sample("y", self.classifier(x), infer={"enumerate": "parallel"})
        is_known, given = self.read(x, y)
        with poutine.mask(mask=~is_known):
            guess = pyro.sample("y_unobserved", self.classifier(x), infer={"enumerate": "parallel"})
        return torch.where(is_known.unsqueeze(-1), given, guess)

    def read(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Which labels are known, `[n]`, and all of them as one-hot vectors, `[n, K]`."""
        vectors = one_hot(y.long().clamp(min=0, max=self.classes - 1), self.classes)
        return y >= 0, vectors.to(self._find_type(x))

    def check_data(self, *data: Tensor) -> None:
        if len(data) > 2:
            raise TypeError(f"data: expected x and its labels, got {len(data)} tensors")
        if len(data) < 2:
            return

        y = data[1]
        if y.is_floating_point() or y.dtype == torch.bool or y.dim() != 1:
            raise TypeError(
                f"y: expected whole numbers [n], one label for each row, and {UNKNOWN} where it is "
                f"not known, got {y.dtype} of shape {list(y.shape)}"
            )
        wrong = (y < UNKNOWN) | (y >= self.classes)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise ValueError(
                f"y: expected labels from 0 to {self.classes - 1}, and {UNKNOWN} where one is not "
                f"known, got {int(y[row])} in row {row}"
            )

    def describe_evidence(self, *data: Tensor) -> str | None:
        known = int((torch.as_tensor(data[1]) >= 0).sum()) if len(data) > 1 else 0
        if not known:
            return None
        return (
            f"The label is known in {known} of {len(data[1])} rows: log p(x) stands for "
            "log p(x, y) there."
        )

    def list_given(self, *data: Tensor) -> dict[str, Tensor]:
        if len(data) < 2:
            return {}
        _, given = self.read(*data)
        return {"y_observed": given}

    def __repr__(self) -> str:
        parts = {
            "p(y)": self.labels,
            "p(z|y)" if _takes_label(self.prior, 0) else "p(z)": self.prior,
            "p(x|z,y)" if _takes_label(self.likelihood, 1) else "p(x|z)": self.likelihood,
            "q(y|x)": self.classifier,
            "q(z|x,y)" if _takes_label(self.variational, 1) else "q(z|x)": self.variational,
        }
        return write_story(type(self).__name__, parts)

    def _find_type(self, x: Tensor) -> torch.dtype:
        floating = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        return next((p.dtype for p in self.parameters()), floating)

    def _fit_together(self) -> None:
        parts = {
            "prior": (self.prior, 0),
            "likelihood": (self.likelihood, 1),
            "variational": (self.variational, 1),
        }
        shapes_of_y = {"labels": find_event(self.labels), "classifier": find_event(self.classifier)}
        for role, (part, place) in parts.items():
            if _takes_label(part, place):
                shapes_of_y[f"{role} (given)"] = find_given(part, place)
        compare_shapes("y", shapes_of_y)
        for role, part in (("labels", self.labels), ("classifier", self.classifier)):
            _refuse_other(role, part)

        shapes_of_z = {
            "prior": find_event(self.prior),
            "likelihood (given)": find_given(self.likelihood),
            "variational": find_event(self.variational),
        }
        shapes_of_x = {
            "likelihood": find_event(self.likelihood),
            "classifier (given)": find_given(self.classifier),
            "variational (given)": find_given(self.variational),
        }
        compare_shapes("z", shapes_of_z)
        compare_shapes("x", shapes_of_x)
        compare_supports("y", self.labels, self.classifier)
        compare_supports("z", self.prior, self.variational)


def call_with(part: nn.Module, own: tuple[Tensor, ...], label: Tensor):
    """A part at its own variables, and at the label if it is given one."""
    return part(*own, label) if _takes_label(part, len(own)) else part(*own)


def _refuse_other(role: str, part: nn.Module) -> None:
    """Raise a ValueError if a part is over anything but one-hot vectors."""
    if not isinstance(part, Conditional):
        return
    if len(part.event_shape) != 1 or not is_same_support(part.support, constraints.one_hot):
        raise ValueError(
            f"{role}: expected a distribution over one-hot vectors, pv.OneHotCategorical(K) for "
            f"example, got {part}"
        )


def _takes_label(part: nn.Module, own: int) -> bool:
    return not isinstance(part, Conditional) or len(part.given_shapes) > own
