"""A latent that is a direction: von Mises-Fisher q against normal q (Davidson et al., 2018).

A normal prior pulls every q towards one point, the origin. On a sphere no point is special, and the
uniform prior costs only what q knows. The sphere of R³ has two degrees of freedom, so the normal
latent has two dimensions. (Davidson, Falorsi, De Cao, Kipf & Tomczak, 2018)
"""

import matplotlib.pyplot as plt
import torch

import pyro_vae as pv

LATENTS = {
    "normal": (2, pv.StandardNormal, pv.Normal),
    "von Mises-Fisher": (3, pv.UniformSphere, pv.VonMisesFisher),
    "power spherical": (3, pv.UniformSphere, pv.PowerSpherical),
}


def main(
    epochs: int = 60, num_samples: int = 1000, file: str = "sphere.png"
) -> dict[str, tuple[float, float]]:
    digits = pv.data.load("digits")
    torch.manual_seed(0)
    x_test = pv.data.binarise(digits.test)

    found, pairs = {}, {}
    print(f"{'log p(x), nats':20}{'mean':>10}{'± error':>10}{'less normal':>14}{'± error':>10}")
    for name, (d, prior, family) in LATENTS.items():
        torch.manual_seed(0)
        vae = pv.VAE(
            prior=prior(d),
            likelihood=pv.Bernoulli((1, 8, 8), given=d),
            variational=family(d, given=(1, 8, 8)),
        )
        # without a warm-up q on the sphere collapses to its prior
        warm = pv.KLWeight(pv.Objective(vae), pv.linear(300))
        pv.fit(
            vae,
            digits.train,
            epochs=epochs,
            objective=warm,
            transform=torch.bernoulli,
            seed=0,
            progress=False,
        )
        log_p = pv.diagnostics.log_evidence(
            vae, x_test, num_samples=num_samples, progress=False
        ).value
        pairs[name], found[name] = vae, (log_p, log_p - found["normal"][0] if found else 0 * log_p)
        numbers = [
            n for v in found[name] for n in (v.mean().item(), v.std().item() / len(v) ** 0.5)
        ]
        print(
            f"{name:20}{numbers[0]:10.2f}{numbers[1]:10.2f}{numbers[2]:14.2f}{numbers[3]:10.2f}",
            flush=True,
        )

    with torch.no_grad():
        directions = pairs["von Mises-Fisher"].variational(x_test).loc
    figure = plt.figure(figsize=(6, 6))
    axes = figure.add_subplot(projection="3d", box_aspect=(1, 1, 1))
    points = axes.scatter(*directions.T, c=digits.labels[2], cmap="tab10", s=10)
    axes.set(title="directions of q(z | x), by digit", xlabel="z₁", ylabel="z₂", zlabel="z₃")
    figure.colorbar(points, shrink=0.6)
    figure.savefig(file, dpi=150)
    plt.close(figure)
    return {name: (v.mean().item(), d.mean().item()) for name, (v, d) in found.items()}


if __name__ == "__main__":
    main()
