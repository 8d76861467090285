"""A VAE as Pyro has it: a model, a guide, and the loop of SVI written out."""

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam

import pyro_vae as pv


def main(epochs: int = 100, num_samples: int = 1000) -> list[float]:
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    digits = pv.data.load("digits")

    vae = pv.VAE(
        prior=pv.StandardNormal(8),  # p(z)
        likelihood=pv.Bernoulli((1, 8, 8), given=8),  # p(x|z)
        variational=pv.Normal(8, given=(1, 8, 8)),  # q(z|x)
    )
    svi = SVI(vae.model, vae.guide, Adam({"lr": 1e-3}), Trace_ELBO())

    losses = []
    for epoch in range(epochs):
        loss = 0.0
        for index in torch.randperm(len(digits.train)).split(128):
            loss += svi.step(torch.bernoulli(digits.train[index]))
        losses.append(loss / len(digits.train))
        if epoch % 10 == 0:
            print(f"epoch {epoch:3d}: ELBO {-losses[-1]:.2f} nats per datum")

    print()
    print(pv.diagnostics.picture(vae, pv.data.binarise(digits.test), num_samples=num_samples))
    return losses


if __name__ == "__main__":
    main()
