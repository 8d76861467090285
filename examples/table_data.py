"""Tables with missing cells, imputed from the posterior by importance weights.

30 % of the cells are hidden at random. The tables are real and mixed: columns of numbers and one
column of classes. Numbers are brought to mean 0 and scale 1 by their observed cells. The error is
the root mean square over the hidden cells of the numbers (RMSE). The network, its size and its
training were chosen once for all tables. They were chosen by the error on further observed cells,
which were hidden for that.
"""

import warnings
from functools import partial

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from torch import Tensor, nn

import pyro_vae as pv

SMALL = partial(pv.networks.mlp, hidden=(32,), activation=nn.Tanh)
WIDER = partial(pv.networks.mlp, hidden=(64,), activation=nn.Tanh)


def tables() -> dict[str, tuple[Tensor, Tensor]]:
    """The numbers of each table, `[n, columns]`, and its column of classes, `[n]`."""
    found = {}
    for name, load in {"wine": load_wine, "breast cancer": load_breast_cancer}.items():
        found[name] = torch.tensor(load().data).float(), torch.tensor(load().target).float()
    x = torch.tensor(load_diabetes().data).float()
    found["diabetes"] = torch.cat([x[:, :1], x[:, 2:]], 1), (x[:, 1] > 0).float()
    return found


def vae(numbers: int, classes: int) -> pv.VAE:
    return pv.VAE(
        prior=pv.StandardNormal(8),
        likelihood=pv.missing(
            pv.Columns(
                {
                    "numbers": (pv.Normal, numbers, {"scale": "free"}),
                    "class": (pv.Categorical, {"classes": classes}),
                },
                given=8,
                net=SMALL,
            )
        ),
        variational=pv.Normal(8, given=numbers + 1, net=pv.masked(WIDER)),
    )


def main(epochs: int = 400, masks: int = 5, num_samples: int = 1000) -> dict[str, Tensor]:
    print(
        f"{'RMSE over hidden cells':24}{'column means':>18}{'IterativeImputer':>20}"
        f"{'VAE':>18}{'classes right':>16}"
    )
    found = {}
    for name, (numbers, classes) in tables().items():
        errors = []
        for seed in range(masks):
            torch.manual_seed(seed)
            hidden = torch.rand(len(numbers), numbers.shape[1] + 1) < 0.3
            hidden[hidden.all(1), 0] = False
            seen = numbers.masked_fill(hidden[:, :-1], torch.nan)
            mean = seen.nanmean(0)
            scale = (seen - mean).square().nanmean(0).sqrt()
            x = torch.cat([(numbers - mean) / scale, classes[:, None]], 1)
            table = x.masked_fill(hidden, torch.nan)

            pair = vae(numbers.shape[1], int(classes.max()) + 1)
            pv.fit(
                pair,
                table,
                epochs=epochs,
                batch_size=64,
                learning_rate=3e-3,
                seed=seed,
                progress=False,
            )
            ours = pv.diagnostics.impute(pair, table, num_samples=num_samples, progress=False).value
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # its ten rounds do not always converge
                theirs = torch.tensor(IterativeImputer(random_state=0).fit_transform(table.numpy()))

            cells = hidden[:, :-1]
            rmse = [
                (a[:, :-1] - x[:, :-1])[cells].square().mean().sqrt()
                for a in (torch.zeros_like(x), theirs, ours)
            ]
            right = (ours == x)[:, -1][hidden[:, -1]].float().mean()
            errors.append(torch.stack([*rmse, right]))
        found[name] = torch.stack(errors)
        columns = zip(
            found[name].mean(0).tolist(),
            (found[name].std(0) / masks**0.5).tolist(),
            (18, 20, 18, 16),
        )
        print(
            f"{name:24}"
            + "".join(f"{f'{value:.3f} ± {error:.3f}':>{width}}" for value, error, width in columns)
        )
    print(f"\n± is the standard error over {masks} random masks.")
    return found


if __name__ == "__main__":
    main()
