"""Whether the modalities of a pair agree with each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.arguments import check_choice, check_type, check_whole
from pyro_vae.diagnostics.cross_generation import check_multimodal
from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.diagnostics.resampling import count_effective, draw_weighted, resample
from pyro_vae.pairs.multimodal import MultimodalVAE, is_there
from pyro_vae.progress import progress_bar
from pyro_vae.weights.blocks import count_fitting, count_numbers, cut
from pyro_vae.weights.draws import reconstruct, simulate
from pyro_vae.weights.intake import admit
from pyro_vae.weights.traces import quietly

FEW = 10  # effective samples, below which draws by weights are doubtful

Classify = Callable[[Tensor], Tensor]
Ways = dict[tuple[str, str], Estimate]


@dataclass(frozen=True)
class Coherence:
    """The share of draws whose modalities are of the same class.

    The errors are over data and draws together. One datum that agrees and one that does not are
    added for them, so that an error is not 0 where all that were seen agree.

    Attributes:
        joint: Of draws of p(z) and p(x_m | z): all modalities are of one class.
        variational: By (given, drawn): a draw of one modality is of the class of the other that it
            was given, with z ~ q(z | x_given).
        posterior: The same with z ~ p(z | x_given), by weights.
        ess: The effective sample size of those weights by the modality given, `[n]`.
    """

    joint: Estimate
    variational: Ways
    posterior: Ways
    ess: dict[str, Tensor]

    def warnings(self) -> list[str]:
        """Why numbers are not to be trusted. It is empty if nothing speaks against them."""
        shares = {given: (ess < FEW).double().mean().item() for given, ess in self.ess.items()}
        return [
            f"given {given}: fewer than {FEW} effective samples for {100 * share:.3g} % of the "
            "data, so that draws by weights are near those of q; take more"
            for given, share in shares.items()
            if share > 0
        ]

    def __str__(self) -> str:
        lines = [f"{'share that agrees':<28} {'by q(z|x)':<18} by p(z|x)"]
        lines.append(f"{'all, drawn from p':<28} {_write(self.joint)}")
        for given, drawn in self.variational:
            way = f"{drawn} from {given}"
            q, p = (_write(found[given, drawn]) for found in (self.variational, self.posterior))
            lines.append(f"{way:<28} {q:<18} {p}")
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings())])

    __repr__ = __str__


def coherence(
    pair: MultimodalVAE,
    *data: Tensor,
    classify: Mapping[str, Classify],
    num_samples: int = 1000,
    draws: int = 10,
    simulations: int = 10_000,
    mean: bool = False,
    progress: bool = True,
) -> Coherence:
    """How often modalities agree: drawn together from p, and drawn from each other.

    If q(z | x) is the posterior and the data are from p, those of two modalities are all equal.
    Where shares by q and by weights differ, q is not the posterior. (Shi, Siddharth, Paige & Torr,
    2019)

    Arguments:
        pair: A `MultimodalVAE`.
        data: A tensor for each modality. Rows without a modality are left out where it is given.
        classify: By the name of a modality, a function from its values `[n, *event]` to classes
            `[n]`. A label that is a modality classifies itself, `lambda y: y.argmax(-1)`.
        num_samples: Draws of q(z | x) for each datum, of which those by weights are chosen.
        draws: Draws of a modality for each datum, at most `num_samples`.
        simulations: Joint draws from p.
        mean: Classify the mean of p(x_m | z) in place of a draw, which is an image without noise.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `Coherence`. Its `str` is a table.

    Raises:
        TypeError: if the pair is no `MultimodalVAE`, or a number is no whole one.
        ValueError: if fewer than two of its modalities are named, or the data do not fit, or a
            function gives another shape than `[n]`.

    Example:
        >>> pair = pv.MultimodalVAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihoods={"a": pv.Normal(3, given=2), "b": pv.Normal(3, given=2)},
        ...     experts={"a": pv.Normal(2, given=3), "b": pv.Normal(2, given=3)},
        ... )
        >>> first = lambda values: values[:, 0] > 0
        >>> found = coherence(pair, x, x, classify={"a": first, "b": first}, num_samples=20)
        >>> list(found.variational)
        [('a', 'b'), ('b', 'a')]
    """
    check_multimodal(pair)
    _check_names(pair, classify)
    num_samples = check_whole("num_samples", num_samples)
    settings = _Settings(
        classify=classify,
        num_samples=num_samples,
        draws=min(check_whole("draws", draws), num_samples),
        mean=mean,
    )
    simulations = check_whole("simulations", simulations)
    data = admit(pair, data)

    variational: Ways = {}
    posterior: Ways = {}
    ess: dict[str, Tensor] = {}
    with progress_bar(len(classify), "drawing", show=progress, unit="modality") as bar:
        for given in classify:
            found = _compare(pair, data, given, settings)
            variational |= {
                (given, drawn): _share(found.variational[drawn]) for drawn in found.drawn
            }
            posterior |= {(given, drawn): _share(found.posterior[drawn]) for drawn in found.drawn}
            ess[given] = found.ess
            bar.update()

    joint = _draw_jointly(pair, data, simulations, settings)
    return Coherence(joint=joint, variational=variational, posterior=posterior, ess=ess)


@dataclass(frozen=True)
class _Settings:
    classify: Mapping[str, Classify]
    num_samples: int
    draws: int
    mean: bool


@dataclass(frozen=True)
class _Agreeing:
    """Whether draws agree with what they were given, by the modality drawn, `[draws, n]`."""

    variational: dict[str, Tensor]
    posterior: dict[str, Tensor]
    ess: Tensor

    @property
    def drawn(self) -> list[str]:
        return list(self.variational)


def _check_names(pair: MultimodalVAE, classify: Mapping[str, Classify]) -> None:
    check_type("classify", classify, Mapping, "functions by the name of the modality")
    for name in classify:
        check_choice("classify", name, list(pair.likelihoods))
    if len(classify) < 2:
        raise ValueError(
            "classify: expected a function for two modalities at least, got "
            f"{list(classify)} of {list(pair.likelihoods)}"
        )


def _compare(pair: MultimodalVAE, data: tuple, given: str, settings: _Settings) -> _Agreeing:
    """Draw the other modalities from one, a block of its rows after the other."""
    place = list(pair.likelihoods).index(given)
    alone = _take_alone(given, data, place)
    numbers = sum(map(count_numbers, data))

    parts = []
    for _, block in cut(alone, count_fitting(settings.num_samples * numbers)):
        parts.append(_compare_block(pair, block, given, block[place], settings))
    return _join(parts)


def _take_alone(given: str, data: tuple, place: int) -> tuple[Tensor, ...]:
    """The rows that have a modality, with all others missing."""
    there = is_there(data[place])
    if not there.any():
        raise ValueError(f"data: {given} is missing in every row; leave it out of classify")

    values = data[place][there]
    alone = [_hide(d, len(values)) for d in data]
    alone[place] = values
    return tuple(alone)


def _hide(values: Tensor, rows: int) -> Tensor:
    dtype = values.dtype if values.is_floating_point() else torch.get_default_dtype()
    return torch.full_like(values[:1], torch.nan, dtype=dtype).expand(rows, *values.shape[1:])


def _compare_block(
    pair: MultimodalVAE, data: tuple, given: str, values: Tensor, settings: _Settings
) -> _Agreeing:
    truth = _find_classes(given, values, settings)
    with quietly(pair):
        z, weights = draw_weighted(pair, data, settings.num_samples)
        # draws of q are independent, so that the first ones are any
        first = {name: value[: settings.draws] for name, value in z.items()}
        chosen = {name: resample(weights, value, settings.draws) for name, value in z.items()}

    variational, posterior = (
        {
            name: (_find_classes(name, drawn, settings).reshape(settings.draws, -1) == truth)
            for name, drawn in _decode(pair, data, at, settings).items()
            if name != given
        }
        for at in (first, chosen)
    )
    return _Agreeing(variational, posterior, count_effective(weights))


def _decode(
    pair: MultimodalVAE, data: tuple, z: dict[str, Tensor], settings: _Settings
) -> dict[str, Tensor]:
    """The modalities with a class, at draws of z, `[draws * n, *event]`."""
    repeated = [d.repeat(settings.draws, *(1,) * (d.dim() - 1)) for d in data]
    flat = {name: value.flatten(0, 1) for name, value in z.items()}
    drawn = reconstruct(pair, *repeated, mean=settings.mean, at=flat)

    return {name: drawn[name] for name in settings.classify}


def _draw_jointly(
    pair: MultimodalVAE, data: tuple, simulations: int, settings: _Settings
) -> Estimate:
    """The share of draws of p of which all modalities are of one class."""
    templates = [d.new_zeros(simulations, *d.shape[1:]) for d in data]
    drawn = simulate(pair, *templates, mean=settings.mean)
    classes = [_find_classes(name, drawn[name], settings) for name in settings.classify]

    return _share(torch.stack([other == classes[0] for other in classes[1:]]).all(0).unsqueeze(0))


def _find_classes(name: str, values: Tensor, settings: _Settings) -> Tensor:
    with torch.no_grad():
        classes = settings.classify[name](values)
    if classes.shape != values.shape[:1]:
        raise ValueError(
            f"classify: expected a function of {name} to give a class for each row, "
            f"{tuple(values.shape[:1])}, got {tuple(classes.shape)}"
        )
    return classes


def _share(agrees: Tensor) -> Estimate:
    """The share of what agrees, `[draws, n]`, with its error over data and draws."""
    each = agrees.double().mean(0)
    spread = torch.cat([each, each.new_tensor([0.0, 1.0])]).std()

    return Estimate(value=each.mean().item(), stderr=spread.item() / len(each) ** 0.5)


def _join(parts: list[_Agreeing]) -> _Agreeing:
    """The results of blocks of data as one."""

    def join(columns: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([column[name] for column in columns], 1) for name in columns[0]}

    return _Agreeing(
        variational=join([part.variational for part in parts]),
        posterior=join([part.posterior for part in parts]),
        ess=torch.cat([part.ess for part in parts]),
    )


def _write(share: Estimate) -> str:
    return f"{share.value:.3f} ± {share.stderr:.3f}"
