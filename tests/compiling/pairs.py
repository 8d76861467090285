"""Pairs that are compiled, and what compares a compiled loss with the eager one."""

import math
from functools import partial

import torch
import zuko
from torch import nn

import pyro_vae as pv
from pyro_vae.compiling.loss import CompiledLoss

ADAM = {"lr": 1e-2}
small = partial(pv.networks.mlp, hidden=(8,))


def vae(name="vae", **parts):
    torch.manual_seed(7)
    parts = {
        "prior": pv.StandardNormal(2),
        "likelihood": pv.Bernoulli(5, given=2, net=small),
        "variational": pv.Normal(2, given=5, net=small),
    } | {key: part() for key, part in parts.items()}
    return pv.VAE(**parts, name=name)


def vamp():
    torch.manual_seed(7)
    q = pv.Normal(2, given=5, net=small)
    return pv.VAE(
        prior=pv.Vamp(q, torch.rand(3, 5)),
        likelihood=pv.Bernoulli(5, given=2, net=small),
        variational=q,
        name="vae",
    )


def dropout(given, out):
    return nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, math.prod(out))
    )


PAIRS = {
    "normal": vae,
    "mixture prior": partial(vae, prior=lambda: pv.Mixture(pv.Normal, 2, components=3)),
    "vamp": vamp,
    "flow prior": partial(vae, prior=lambda: pv.Flow(2, transforms=1, hidden_features=(8,))),
    "flow variational": partial(
        vae,
        variational=lambda: pv.Flow(
            2, given=5, flow=zuko.flows.MAF, net=small, transforms=1, hidden_features=(8,)
        ),
    ),
    "full covariance": partial(
        vae, variational=lambda: pv.MultivariateNormal(2, given=5, net=small)
    ),
    "low rank": partial(vae, variational=lambda: pv.LowRankNormal(2, given=5, net=small, rank=1)),
    "gamma, by its own sampler": partial(
        vae, prior=lambda: pv.Gamma(2), variational=lambda: pv.Gamma(2, given=5, net=small)
    ),
    "categorical, by the score function": partial(
        vae,
        prior=lambda: pv.Categorical(2, classes=3),
        variational=lambda: pv.Categorical(2, given=5, net=small, classes=3),
    ),
    "dropout and batch statistics": partial(
        vae, variational=lambda: pv.Normal(2, given=5, net=dropout)
    ),
}


def loss_and_gradients(objective, *data):
    torch.manual_seed(3)
    objective.zero_grad()
    loss = objective(*data)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in objective.named_parameters()}


def same(a, b):
    torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-6)


def exported(objective):
    """Without the C++ compiler, which takes seconds: the handlers vanish all the same."""
    return CompiledLoss(objective.forward, [objective], backend="eager")
