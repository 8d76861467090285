"""Two levels of latents on the digits: z2 ~ p(z2), z1 ~ p(z1|z2), x ~ p(x|z1).

Bottom-up q goes x, z1, z2 (Burda et al., 2016), top-down q goes x, z2, z1 (Sønderby et al., 2016).
Both are compared with one level of the size of z1, by log p(x) on test data, paired. The weight of
each level's KL rises in training, so that both come into use (Sønderby et al., 2016).
"""

import torch

import pyro_vae as pv

X, Z1, Z2 = (1, 8, 8), 16, 8


def build(name: str):
    torch.manual_seed(0)
    likelihood = pv.Bernoulli(X, given=Z1)
    if name == "one level":
        return pv.VAE(
            prior=pv.StandardNormal(Z1),
            likelihood=likelihood,
            variational=pv.Normal(Z1, given=X),
        )

    priors = [pv.StandardNormal(Z2), pv.Normal(Z1, given=Z2)]
    if name == "bottom-up":
        variationals = [pv.Normal(Z1, given=X), pv.Normal(Z2, given=Z1)]
    else:
        variationals = [pv.Normal(Z2, given=X), pv.Normal(Z1, given=[X, Z2])]
    return pv.HierarchicalVAE(
        priors=priors,
        likelihood=likelihood,
        variationals=variationals,
        order=name.replace("-", "_"),
    )


def fit(pair, x: torch.Tensor, epochs: int, warm_up: int) -> None:
    latents = ["z"] if isinstance(pair, pv.VAE) else pair.levels
    rising = {name: pv.linear(warm_up) for name in latents}
    objective = pv.KLWeight(pv.Objective(pair), rising)
    pv.fit(pair, x, epochs=epochs, objective=objective, transform=torch.bernoulli, seed=0)


def main(epochs: int = 100, warm_up: int = 400, num_samples: int = 500) -> dict[str, torch.Tensor]:
    digits = pv.data.load("digits")
    x_test = pv.data.binarise(digits.test)

    found = {}
    for name in ("one level", "bottom-up", "top-down"):
        pair = build(name)
        fit(pair, digits.train, epochs, warm_up)
        found[name] = pv.diagnostics.log_evidence(
            pair, x_test, num_samples=num_samples, progress=False
        ).value
        print(f"{name}\n{pv.diagnostics.latents(pair, x_test, progress=False)}\n")

    print(f"{'log p(x), nats':20}{'mean':>9}{'against one level':>24}")
    for name, value in found.items():
        gain = value - found["one level"]
        error = gain.std().item() / len(gain) ** 0.5
        print(f"{name:20}{value.mean().item():9.2f}{gain.mean().item():14.2f} ± {error:.2f}")
    return found


if __name__ == "__main__":
    main()
