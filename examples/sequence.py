"""A deep Markov model of noisy walks on a circle (Krishnan, Shalit & Sontag, 2017).

Each sequence turns at a speed of its own, and has a length of its own. The latent must keep the
angle and the speed, as a single step of x does not show the latter. A forecast needs both.
"""

from functools import partial

import torch

import pyro_vae as pv


def make_walks(n: int, steps: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points on a circle with noise, `[n, steps, 2]`, and lengths, `[n]`."""
    generator = torch.Generator().manual_seed(seed)
    start, speed = torch.rand(2, n, 1, generator=generator) * 6.28
    angle = start + 0.2 * (speed - 3.14) * torch.arange(steps)
    x = torch.stack([angle.cos(), angle.sin()], -1)
    lengths = torch.randint(steps // 2, steps + 1, (n,), generator=generator)
    return x + 0.1 * torch.randn(n, steps, 2, generator=generator), lengths


def main(epochs: int = 60, n: int = 500, num_samples: int = 100) -> float:
    torch.manual_seed(0)
    x, lengths = make_walks(n, 16, seed=0)
    x_test, lengths_test = make_walks(200, 16, seed=1)
    mlp = partial(pv.networks.mlp, hidden=(32,))
    pair = pv.SequenceVAE(
        transition=pv.Normal(4, given=4, net=partial(pv.networks.gated, hidden=32)),
        emission=pv.Normal(2, given=4, net=mlp, scale="shared"),
        variational=pv.Normal(4, given=[4, 32], net=mlp),
        encoder=pv.networks.Backward(2, 32),
    )
    print(pair)

    before = pv.diagnostics.elbo(pair, x_test, lengths_test, num_samples=20, progress=False)
    # without the warm-up the latents stay unused for half of the run
    objective = pv.KLWeight(pv.Objective(pair), pv.linear(200))
    pv.fit(
        pair,
        x,
        lengths,
        epochs=epochs,
        batch_size=50,
        learning_rate=1e-2,
        objective=objective,
        seed=0,
    )
    after = pv.diagnostics.elbo(pair, x_test, lengths_test, num_samples=num_samples, progress=False)
    evidence = pv.diagnostics.log_evidence(
        pair, x_test, lengths_test, num_samples=num_samples, progress=False
    )
    for name, value in (("before", before), ("ELBO", after), ("log p(x)", evidence)):
        print(f"{name:10}{pv.diagnostics.per_step(value, lengths_test)}")

    given = torch.full_like(lengths_test, 8)
    found = pv.diagnostics.forecast(
        pair, x_test, given, steps=4, num_samples=20 * num_samples, progress=False
    )
    print(found)
    errors = (found.value - x_test[:, 8:12]).square().mean((0, 2)).sqrt()
    stays = (x_test[:, 7:8] - x_test[:, 8:12]).square().mean((0, 2)).sqrt()
    for s in range(4):
        print(f"error {s + 1} steps ahead {errors[s]:.3f}, of the last point seen {stays[s]:.3f}")
    return pv.diagnostics.per_step(after, lengths_test).total.value


if __name__ == "__main__":
    main()
