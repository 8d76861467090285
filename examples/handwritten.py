"""A Pyro model and guide written by hand go through the same tools as ours: check, fit, picture."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import pyro_vae as pv

decoder = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64))
encoder = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4))


def model(x):
    pyro.module("decoder", decoder)
    tightness = pyro.param("tightness", torch.tensor(1.0), constraint=dist.constraints.positive)
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Bernoulli(logits=tightness * decoder(z)).to_event(1), obs=x)


def guide(x):
    pyro.module("encoder", encoder)
    with pyro.plate("data", x.shape[0]):
        loc, raw = encoder(x).chunk(2, -1)
        pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw) + 1e-3).to_event(1))


def main(epochs: int = 200, num_samples: int = 1000) -> pv.diagnostics.Picture:
    torch.manual_seed(0)
    digits = pv.data.load("digits")
    x, x_test = digits.train.flatten(1), pv.data.binarise(digits.test.flatten(1))

    pair = pv.Pair(model, guide)
    pv.check(pair, x_test[:5])
    pv.fit(pair, x, epochs=epochs, transform=torch.bernoulli, seed=0)

    picture = pv.diagnostics.picture(pair, x_test, num_samples=num_samples)
    print(f"\n{picture}")
    return picture


if __name__ == "__main__":
    main()
