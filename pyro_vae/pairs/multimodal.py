"""The VAE of several modalities: MVAE, a product of experts (Wu & Goodman, 2018)."""

from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_vae.arguments import check_choice
from pyro_vae.conditionals.family import Family
from pyro_vae.conditionals.real import Normal
from pyro_vae.distributions import Mixture
from pyro_vae.distributions.missing import stand_in
from pyro_vae.pairs.admission import ChecksData
from pyro_vae.pairs.parameters import register
from pyro_vae.pairs.parts import (
    check_parts,
    check_several,
    compare_shapes,
    compare_supports,
    find_event,
    find_given,
    write_story,
)

JOINS = ("product", "mixture")


class MultimodalVAE(ChecksData):
    r"""z ~ p(z), and x_m ~ p(x_m | z) for each modality m.

    .. math:: q(z \mid x) \propto p(z) \prod_{m \text{ there}} q_m(z \mid x_m)

    The variational is the product of the prior and an expert for each modality, all normal. Or it
    is the mixture of the experts. A modality that is NaN throughout a row is missing there: the
    likelihood does not score it, and its expert has no say. The data are one tensor for each
    modality, in the order of the likelihoods.

    Arguments:
        prior: p(z), normal with independent numbers, or any for a mixture.
        likelihoods: p(x_m | z) by the name of the modality.
        experts: q_m(z | x_m) by name, normal with independent numbers.
        join: "product" (Wu & Goodman, 2018) or "mixture" (Shi, Siddharth, Paige & Torr, 2019).
        name: The name under which the parameters are registered with Pyro.

    Raises:
        ValueError: if the names differ, or the shapes or supports do not fit. When data are
            admitted, if a row has no modality, or a modality is partly missing in a row. When
            trained, if a modality is missing in every row.
        TypeError: if another number of tensors is given than there are modalities.

    Example:
        >>> pair = MultimodalVAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihoods={"image": pv.Bernoulli(8, given=2), "label": pv.Bernoulli(3, given=2)},
        ...     experts={"image": pv.Normal(2, given=8), "label": pv.Normal(2, given=3)},
        ... )
        >>> pair
        MultimodalVAE(
          p(z)       = StandardNormal((2,))
          p(image|z) = Bernoulli((8,) | (2,))
          p(label|z) = Bernoulli((3,) | (2,))
          q(z|image) = Normal((2,) | (8,))
          q(z|label) = Normal((2,) | (3,))
        )
        >>> image, label = torch.ones(5, 8), torch.full((5, 3), torch.nan)
        >>> pv.diagnostics.log_weights(pair, image, label, num_samples=4).shape
        torch.Size([4, 5])
    """

    takes_missing = True

    def __init__(
        self,
        *,
        prior: nn.Module,
        likelihoods: Mapping[str, nn.Module],
        experts: Mapping[str, nn.Module],
        join: str = "product",
        name: str = "multimodal",
    ):
        super().__init__()

        check_parts(name, prior=prior)
        check_choice("join", join, JOINS)
        check_several("likelihoods", likelihoods, Mapping, "modules by the name of the modality")
        check_several("experts", experts, Mapping, "modules by the name of the modality")
        if not likelihoods or list(likelihoods) != list(experts):
            raise ValueError(
                "experts: expected one for each likelihood, under the same names and in the same "
                f"order, {list(likelihoods)}, got {list(experts)}"
            )
        if join == "product":
            _refuse_other("prior", prior)
        for modality in likelihoods:
            _refuse_other(f"expert of {modality}", experts[modality])
            _fit_together(modality, prior, likelihoods[modality], experts[modality])
        self.prior = prior
        self.likelihoods = nn.ModuleDict(likelihoods)
        self.experts = nn.ModuleDict(experts)
        self.join = join
        self.name = name

    def model(self, *x: Tensor) -> None:
        register(self, self.name)
        with pyro.plate("data", x[0].shape[0]):
            z = pyro.sample("z", self.prior())
            for (modality, likelihood), values in zip(self.likelihoods.items(), x, strict=True):
                with poutine.mask(mask=is_there(values)):
                    p = likelihood(z)
                    # with NaN, or off its support, even a masked density has no gradient
                    filled = torch.where(values.isnan(), stand_in(p, values), values)
                    pyro.sample(modality, p, obs=filled, infer={"argument": values})

    def guide(self, *x: Tensor) -> Tensor:
        register(self, self.name)
        with pyro.plate("data", x[0].shape[0]):
            return pyro.sample("z", self.find_variational(*x))

    def find_variational(self, *x: Tensor):
        """q(z | x), from the experts of the modalities that are there."""
        experts = zip(self.experts.values(), x, strict=True)
        normals = [expert(values.nan_to_num()).base_dist for expert, values in experts]
        there = torch.stack([is_there(values) for values in x], -1)

        if self.join == "mixture":
            return _mix(normals, there)
        return _multiply(self.prior().base_dist, normals, there)

    def check_data(self, *data: Tensor) -> None:
        names = list(self.likelihoods)
        if len(data) != len(names):
            raise TypeError(f"data: expected a tensor for each of {names}, got {len(data)}")

        for name, values in zip(names, data, strict=True):
            _check_modality(name, values)
        nothing = ~torch.stack([is_there(values) for values in data]).any(0)
        if nothing.any():
            rows = nothing.nonzero().flatten().tolist()[:5]
            raise ValueError(f"data: no modality is there in rows {rows}. Remove those rows.")

    def check_training(self, *data: Tensor) -> None:
        for name, values in zip(self.likelihoods, data, strict=True):
            if not is_there(values).any():
                raise ValueError(
                    f"{name}: it is missing in every one of the {len(values)} rows of training "
                    f"data, so that p({name}|z) and q(z|{name}) would learn nothing. Leave it out "
                    "of the likelihoods and experts, or add rows that have it."
                )

    def describe_evidence(self, *data: Tensor) -> str | None:
        missing = {
            name: int((~is_there(torch.as_tensor(values))).sum())
            for name, values in zip(self.likelihoods, data, strict=True)
        }
        said = ", ".join(f"{name} in {count}" for name, count in missing.items() if count)
        if not said:
            return None
        return f"Missing in rows: {said}. log p(x) is of the modalities that are there."

    def __repr__(self) -> str:
        parts: dict[str, object] = {"p(z)": self.prior}
        parts |= {f"p({name}|z)": part for name, part in self.likelihoods.items()}
        parts |= {f"q(z|{name})": part for name, part in self.experts.items()}

        return write_story(type(self).__name__, parts)


def is_there(values: Tensor) -> Tensor:
    """In which rows a modality is there, `[n]`: not every number of it is NaN."""
    if not values.is_floating_point():
        return torch.ones(values.shape[:1], dtype=torch.bool, device=values.device)
    return ~values.isnan().reshape(values.shape[0], -1).all(1)


def _multiply(prior, normals: list, there: Tensor):
    """The product of a normal prior and of normal experts, without those that are not there."""
    precision = prior.scale**-2
    shift = prior.loc * precision
    for normal, is_seen in zip(normals, there.unbind(-1), strict=True):
        weight = torch.where(is_seen.unsqueeze(-1), normal.scale**-2, 0.0)
        precision = precision + weight
        shift = shift + weight * normal.loc
    return dist.Normal(shift / precision, precision**-0.5).to_event(1)


def _mix(normals: list, there: Tensor):
    """The mixture of the experts that are there, at equal weights."""
    loc = torch.stack([normal.loc for normal in normals], -2)
    scale = torch.stack([normal.scale for normal in normals], -2)
    logits = torch.where(there, 0.0, -torch.inf)

    return Mixture(dist.Categorical(logits=logits), dist.Normal(loc, scale).to_event(1))


def _refuse_other(role: str, part: nn.Module) -> None:
    """Raise a ValueError if a family is not normal with independent numbers, or over no vectors."""
    if not isinstance(part, Family):
        return
    if not isinstance(part, Normal) or len(part.event_shape) != 1:
        raise ValueError(
            f"{role}: expected a pv.Normal over vectors, which products and mixtures of experts "
            f"are made of, got {part}"
        )


def _check_modality(name: str, values: Tensor) -> None:
    if not values.is_floating_point():
        return

    infinite = values.isinf().reshape(values.shape[0], -1).any(1)
    if infinite.any():
        rows = infinite.nonzero().flatten().tolist()[:5]
        raise ValueError(f"{name}: some of its numbers are infinite in rows {rows}")

    partly = values.isnan().reshape(values.shape[0], -1).any(1) & is_there(values)
    if partly.any():
        rows = partly.nonzero().flatten().tolist()[:5]
        raise ValueError(
            f"{name}: some of its numbers are NaN in rows {rows}; a modality that is missing is "
            "NaN throughout its row"
        )


def _fit_together(
    modality: str, prior: nn.Module, likelihood: nn.Module, expert: nn.Module
) -> None:
    shapes_of_z = {
        "prior": find_event(prior),
        f"likelihood of {modality} (given)": find_given(likelihood),
        f"expert of {modality}": find_event(expert),
    }
    shapes_of_x = {"likelihood": find_event(likelihood), "expert (given)": find_given(expert)}
    compare_shapes("z", shapes_of_z)
    compare_shapes(modality, shapes_of_x)
    compare_supports("z", prior, expert)
