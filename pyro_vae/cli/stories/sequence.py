"""The VAE of sequences: z_t from z_{t-1}, and x_t from z_t."""

import math

import torch
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.arguments import check_whole
from pyro_vae.cli import drawing
from pyro_vae.cli.data import Arranged, Rows, RunData
from pyro_vae.cli.parts import REAL, Config, Parts, find
from pyro_vae.cli.stories.story import Drawn, Figures, Request, Shown, Story, refuse_given
from pyro_vae.data import Dataset
from pyro_vae.diagnostics import Picture
from pyro_vae.look import plots
from pyro_vae.look.findings import Finding, Findings

HIDDEN = 64  # numbers that the encoder knows of the future, at each step
COLUMNS = 4  # sequences in a figure


def arrange(config: Config, dataset: Dataset) -> Arranged:
    """x, and the length of each sequence."""
    if dataset.lengths is None:
        raise ValueError(
            f"pair: the data {config['data']} are no sequences. Take jsb-chorales, or an .npz file "
            "with x [n, T, d] and the lengths [n], as --data."
        )
    train, validation, test = zip(dataset.splits.values(), dataset.lengths, strict=True)
    return Arranged(train=train, validation=validation, test=test)


def build(config: Config, data: RunData) -> pv.SequenceVAE:
    """p(z_t|z_t-1), p(x_t|z_t) and q(z_t|z_t-1,h_t)."""
    event = tuple(data.dataset.train.shape[2:])
    parts = Parts(config, data.dataset.splits.values(), event)
    latent = check_whole("latent", config["latent"])
    find(REAL, "prior", config["prior"])

    torch.manual_seed(config["seed"])
    return pv.SequenceVAE(
        transition=_make_transition(config["prior"], latent),
        emission=parts.make_likelihood(latent),
        variational=parts.make_inner(latent, [latent, HIDDEN]),
        encoder=pv.networks.Backward(math.prod(event), HIDDEN),
    )


def _make_transition(name: str, latent: int) -> nn.Module:
    if name == "normal":
        return pv.Normal(latent, given=latent, net=pv.networks.gated)
    return REAL[name](latent, given=latent)


def draw(shown: Shown) -> Figures:
    """Sequences, samples, and where z lies."""
    pair, (x, lengths) = shown.pair, shown.take(COLUMNS)
    means = pv.reconstruct(pair, x, lengths)["x"]
    z = pv.reconstruct(pair, *shown.rows)["z"]

    figures = {
        "reconstructions": plots.sequences(
            {"x": x, "E p(x|z)": means},
            lengths,
            title="sequences, and the mean of p(x|z) at a draw z of q(z|x)",
        ),
        "samples": _draw(pair, lengths).figure,
        "latents": plots.latents(
            z[_find_steps(*shown.rows)], title="draws of q(z_t|x), one for each step"
        ),
    }
    return figures | drawing.draw_posterior(shown, "z", z, on_grid=False)


def sample(pair: pv.SequenceVAE, data: RunData, request: Request) -> Drawn:
    """All z_t, then all x_t, for sequences that are as long as those of the test data."""
    refuse_given(request)
    count = check_whole("count", 100 if request.draws is None else request.draws)
    lengths = data.test[1]
    place = torch.arange(count) % len(lengths)

    return _draw(pair, lengths[place])


def _draw(pair: pv.SequenceVAE, lengths: Tensor) -> Drawn:
    values = pv.simulate(pair, len(lengths), given=lengths)
    lengths = lengths.to(values["x"].device)
    means = pv.reconstruct(pair, values["x"], lengths, at={"z": values["z"]})["x"]
    shown = {"draws of x": values["x"][:COLUMNS], "E p(x|z)": means[:COLUMNS]}
    figure = plots.sequences(shown, lengths[:COLUMNS], title="draws of p(z), then of p(x|z)")

    return Drawn(values | {"lengths": lengths}, figure)


def _find_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """Which steps lie within each sequence, `[n, T]`."""
    return torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(-1)


def measure(pair: pv.SequenceVAE, data: RunData, rows: Rows, picture: Picture) -> Findings:
    """Nats per step, as they are published."""
    numbers = {"log p(x)": picture.log_evidence, "ELBO": picture.elbo}
    meaning = "nats of all test sequences over all their steps"
    return {
        "Nats per step": [
            Finding(label, pv.diagnostics.per_step(number, rows[1]).total, meaning)
            for label, number in numbers.items()
        ]
    }


STORY = Story(
    how="--pair sequence",
    options={"prior": "normal", "likelihood": "bernoulli", "latent": 16, "num_samples": 100},
    arrange=arrange,
    build=build,
    draw=draw,
    sample=sample,
    measure=measure,
    refused=dict.fromkeys(
        ["free-bits", "total-correlation"],
        "it is for a z of independent numbers, and z_t depends on z_t-1",
    ),
    is_refitted=False,
)
