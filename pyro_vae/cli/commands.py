"""The command line: strings become objects here and nowhere else."""

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
import zuko
from matplotlib.figure import Figure
from pyro.infer import Trace_ELBO
from torch import Tensor

import pyro_vae as pv
from pyro_vae.data.dataset import Dataset, binarise
from pyro_vae.diagnostics import Picture
from pyro_vae.look import plots
from pyro_vae.look.report import report
from pyro_vae.supports import is_real

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# the parts of docs/parts.md that need no more than defaults
REAL: dict[str, Callable] = {
    "normal": pv.Normal,
    "low-rank-normal": partial(pv.LowRankNormal, rank=2),
    "full-normal": pv.MultivariateNormal,
    "laplace": pv.Laplace,
    "student-t": pv.StudentT,
    "nsf": partial(pv.Flow, flow=zuko.flows.NSF),
    "maf": partial(pv.Flow, flow=zuko.flows.MAF),
    "iaf": partial(pv.Flow, flow=pv.IAF),
    "coupling": partial(pv.Flow, flow=zuko.flows.NSF, passes=2),
}
BEYOND: dict[str, Callable] = {
    "gamma": pv.Gamma,
    "beta": pv.Beta,
    "logit-normal": pv.LogitNormal,
    "dirichlet": pv.Dirichlet,
    "logistic-normal": pv.LogisticNormal,
    "power-spherical": pv.PowerSpherical,
    "von-mises-fisher": pv.VonMisesFisher,
    "bernoulli": pv.Bernoulli,
    "one-hot-categorical": pv.OneHotCategorical,
    "autoregressive-bernoulli": partial(pv.Autoregressive, pv.Bernoulli),
}
RELAXED: dict[str, Callable] = {
    "relaxed-bernoulli": partial(pv.RelaxedBernoulli, temperature=0.5),
    "relaxed-categorical": partial(pv.RelaxedCategorical, temperature=0.5),
}
PRIORS: dict[str, Callable] = {
    "standard-normal": lambda latent, **_: pv.StandardNormal(latent),
    "mixture": lambda latent, components, **_: pv.Mixture(pv.Normal, latent, components=components),
    "vamp": lambda variational, x, components, **_: pv.Vamp(
        variational, x[torch.arange(components) % len(x)]
    ),
    "flow": lambda latent, **_: pv.Flow(latent),
    "uniform-sphere": lambda latent, **_: pv.UniformSphere(latent),
    **{name: lambda latent, made=made, **_: made(latent) for name, made in (REAL | BEYOND).items()},
    **{
        name: lambda latent, made=made, **_: made(latent, logits=0.0)
        for name, made in RELAXED.items()
    },
}
LIKELIHOODS: dict[str, Callable] = {
    "bernoulli": pv.Bernoulli,
    "continuous-bernoulli": pv.ContinuousBernoulli,
    "normal": pv.Normal,
    "laplace": pv.Laplace,
    "student-t": pv.StudentT,
    "logit-normal": pv.LogitNormal,
    "beta": pv.Beta,
    "gamma": pv.Gamma,
    "von-mises": pv.VonMises,
    "poisson": pv.Poisson,
    "negative-binomial": pv.NegativeBinomial,
    "zero-inflated-poisson": pv.ZeroInflatedPoisson,
    "zero-inflated-negative-binomial": pv.ZeroInflatedNegativeBinomial,
    "multinomial": pv.Multinomial,
    "dirichlet-multinomial": pv.DirichletMultinomial,
    "binomial": pv.Binomial,
    "categorical": pv.Categorical,
    "ordinal": pv.Ordinal,
    "discretised-logistic": pv.DiscretisedLogistic,
    "discretised-logistic-mixture": partial(pv.DiscretisedLogisticMixture, components=5),
}
LEVELS = {  # the option that says how many values there are, and that number for the values 0, 1
    "binomial": ("total_count", 1),
    "categorical": ("classes", 2),
    "ordinal": ("classes", 2),
    "discretised-logistic": ("levels", 2),
    "discretised-logistic-mixture": ("levels", 2),
}
VARIATIONALS: dict[str, Callable] = {
    **REAL,
    "mixture": partial(pv.Mixture, pv.Normal, components=5),
    **BEYOND,
    **RELAXED,
}
OBJECTIVES: dict[str, Callable] = {
    "elbo": lambda **_: Trace_ELBO(),
    "analytic-kl": lambda **_: pv.AnalyticKL(),
    "sticking-the-landing": lambda **_: pv.EvidenceLowerBound(gradient="sticking_the_landing"),
    "leave-one-out": lambda draws, **_: pv.EvidenceLowerBound(draws, gradient="leave_one_out"),
    "importance-weighted": lambda draws, **_: pv.ImportanceWeighted(draws),
    "doubly-reparametrised": lambda draws, **_: pv.ImportanceWeighted(
        draws, gradient="doubly_reparametrised"
    ),
    "renyi": lambda draws, **_: pv.Renyi(0.5, draws),
    "miwae": lambda draws, **_: pv.MIWAE(draws, draws),
    "piwae": lambda draws, **_: pv.PIWAE(draws, draws),
    "ciwae": lambda draws, **_: pv.CIWAE(0.5, draws),
    "vimco": lambda draws, **_: pv.VIMCO(draws),
    "reweighted-wake-sleep": lambda draws, **_: pv.ReweightedWakeSleep(draws),
    "free-bits": lambda **_: pv.FreeBits(0.25),
    "capacity": lambda **_: pv.Capacity(10.0, pv.linear(5000, to=10.0)),
    "total-correlation": lambda rows, **_: pv.TotalCorrelation(6.0, rows),
    "mmd": lambda **_: pv.MMD(100.0),
}
NETWORKS: dict[str, Callable] = {"mlp": pv.networks.mlp, "conv": pv.networks.conv}


# options that runs of an earlier version do not know
ADDED = {"objective": "elbo", "draws": 5, "compile": False, "precision": None}
EFFORTS: dict[str, dict[str, int]] = {
    "quick": {"num_samples": 1000, "simulations": 500},
    "normal": {"num_samples": 5000, "simulations": 1000, "num_steps": 100, "refit_steps": 200},
    "thorough": {
        "num_samples": 20_000,
        "simulations": 5000,
        "num_steps": 500,
        "num_chains": 16,
        "refit_steps": 1000,
    },
}
ROWS = {"quick": 1000, "normal": 100, "thorough": 100}  # test data that are measured, at most
CAPTIONS = {
    "history": "Training: the ELBO and its two terms.",
    "reconstructions": "Test data, and what the decoder expects at a draw of q(z|x).",
    "samples": "What the decoder expects at draws of the prior.",
    "latents": "Where q(z|x) puts the test data.",
    "posterior": "The true posterior p(z|x) of single test data, and q(z|x).",
    "decoded_grid": "What the decoder expects over z.",
    "calibration": "Ranks of the true z among draws of q(z|x), on simulated data; flat if q is the posterior.",
}


def _known(table: dict) -> str:
    return ", ".join(table)


def _pick(table: dict, role: str, name: str) -> Any:
    if name not in table:
        raise ValueError(f"{role}: unknown name {name!r}; known are {_known(table)}")
    return table[name]


def _build(config: dict, data: Dataset) -> pv.VAE:
    """The pair that a configuration names."""
    event, latent = tuple(data.train.shape[1:]), config["latent"]
    if latent < 1:
        raise ValueError(f"latent: expected a positive whole number, got {latent}")
    net = _pick(NETWORKS, "network", config["network"])
    options = {} if config["scale"] is None else {"scale": config["scale"]}
    if config["likelihood"] in LEVELS:
        option, least = LEVELS[config["likelihood"]]
        options[option] = (
            least
            - 1
            + max(1, int(max(part.max() for part in (data.train, data.validation, data.test))))
        )
    torch.manual_seed(config["seed"])
    likelihood = _pick(LIKELIHOODS, "likelihood", config["likelihood"])(
        event, given=latent, net=net, **options
    )
    variational = _pick(VARIATIONALS, "variational", config["variational"])(
        latent, given=event, net=net
    )
    prior = _pick(PRIORS, "prior", config["prior"])(
        latent=latent, variational=variational, x=data.train, components=config["components"]
    )
    return pv.VAE(prior=prior, likelihood=likelihood, variational=variational)


def _load_data(config: dict) -> tuple[Dataset, str]:
    """The data, and how they are binarised."""
    found = pv.data.load(config["data"])
    grey = config["likelihood"] == "bernoulli" and found.train.is_floating_point()
    grey = grey and bool(((found.train >= 0) & (found.train <= 1)).all())
    if not grey or bool(((found.train == 0) | (found.train == 1)).all()):
        return found, "none"
    held = {
        name: binarise(getattr(found, name), seed)
        for seed, name in enumerate(("validation", "test"))
    }
    return found._replace(**held), "dynamic in training, once for validation and test"


def _open(run: Path) -> tuple[dict, Dataset, pv.VAE]:
    """The configuration, data and trained pair of a run folder."""
    config = _read_config(run)
    found, _ = _load_data(config)
    pair = _build(config, found)
    if not (run / "weights.safetensors").exists():
        raise ValueError(
            f"run: {run} has no weights.safetensors, so it was not trained to the end; "
            f"go on with pyro-vae train --resume --out {run}"
        )
    pv.load_weights(pair, run / "weights.safetensors")
    return config, found, pair.to(config["device"])


def _read_config(run: Path) -> dict:
    try:
        return ADDED | json.loads((run / "config.json").read_text())
    except FileNotFoundError:
        raise ValueError(
            f"run: {run} holds no config.json, so it is not the folder of a run"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"run: cannot read {run / 'config.json'}: {error}") from error


@app.command()
def train(
    ctx: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            help=f"{_known(pv.data.NAMES)}; or a .npy, .npz, .csv, .pt file or a folder of images."
        ),
    ] = "digits",
    prior: Annotated[
        str, typer.Option(help=f"p(z), over the same support as q(z|x): {_known(PRIORS)}.")
    ] = "standard-normal",
    likelihood: Annotated[str, typer.Option(help=f"p(x|z): {_known(LIKELIHOODS)}.")] = "bernoulli",
    variational: Annotated[str, typer.Option(help=f"q(z|x): {_known(VARIATIONALS)}.")] = "normal",
    objective: Annotated[
        str,
        typer.Option(
            help=f"What is trained; what is measured is log p(x) and the ELBO: {_known(OBJECTIVES)}."
        ),
    ] = "elbo",
    draws: Annotated[
        int, typer.Option(help="Of q(z|x) for each datum, for the objectives of several, k.")
    ] = 5,
    network: Annotated[
        str, typer.Option(help=f"Of p(x|z) and q(z|x): {_known(NETWORKS)}.")
    ] = "mlp",
    latent: Annotated[int, typer.Option(help="Dimensions of z.")] = 2,
    components: Annotated[int, typer.Option(help="Of a mixture or vamp prior.")] = 50,
    scale: Annotated[
        float | None, typer.Option(help="Fix the scale of p(x|z), for families that have one.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes through the data.")] = 300,
    batch_size: Annotated[int, typer.Option(help="Data per step.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 1e-3,
    beta: Annotated[
        float, typer.Option(help="Weight of the KL term in training; what is measured has 1.")
    ] = 1.0,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a better ELBO.")
    ] = None,
    num_samples: Annotated[
        int, typer.Option(help="Draws of q(z|x) for each datum, to measure.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the training step; needs a C++ compiler.")
    ] = False,
    precision: Annotated[
        str | None, typer.Option(help="bf16: the networks' products in bfloat16.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; by default runs/DATA, numbered.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, exactly.")
    ] = False,
) -> None:
    """Train a VAE, measure the Bayesian picture on held-out data, and draw it."""
    given = {key: value for key, value in ctx.params.items() if key not in ("out", "resume")}
    if resume:
        if out is None:
            raise ValueError("resume: say which run, with --out")
        config = _read_config(out)
        said = {key for key in given if ctx.get_parameter_source(key).name == "COMMANDLINE"}
        differing = [
            key for key in said - {"epochs", "device", "num_samples"} if given[key] != config[key]
        ]
        if differing:
            key = differing[0]
            raise ValueError(
                f"{key}: the run in {out} has {config[key]!r}, got {given[key]!r}; leave it out to resume"
            )
        config |= {key: given[key] for key in said}
    else:
        config = given
        if config["data"] not in pv.data.NAMES:
            config["data"] = os.path.abspath(config["data"])
        out = _free_folder(config["data"]) if out is None else out
        if (out / "config.json").exists():
            raise ValueError(
                f"out: {out} already holds a run; go on with --resume, or choose another folder"
            )

    found, binarisation = _load_data(config)
    pair = _build(config, found)
    config |= {"binarisation": binarisation, "event_shape": list(found.train.shape[1:])}
    config |= {"pyro_vae": pv.__version__, "torch": str(torch.__version__)}
    elbo = _pick(OBJECTIVES, "objective", config["objective"])(
        draws=config["draws"], rows=len(found.train)
    )
    weighted = pv.Objective(pair, elbo)
    if config["beta"] != 1:
        weighted = pv.KLWeight(weighted, config["beta"])
    print(f"{pair}\n\n{found.description}; binarisation: {binarisation}")
    with _writing(out):
        (out / "figures").mkdir(parents=True, exist_ok=True)
        (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    try:
        history = pv.fit(
            pair,
            found.train,
            epochs=config["epochs"],
            batch_size=config["batch_size"],
            learning_rate=config["learning_rate"],
            objective=weighted,
            validation=found.validation,
            patience=config["patience"],
            transform=None if binarisation == "none" else torch.bernoulli,
            device=config["device"],
            compile=config["compile"],
            precision=config["precision"],
            checkpoint=out / "checkpoint.safetensors",
            resume=resume,
            seed=config["seed"],
        )
    except KeyboardInterrupt as stop:
        where = str(stop).partition(";")[0] or "stopped"
        print(f"\n{where}; go on with: pyro-vae train --resume --out {out}", file=sys.stderr)
        raise typer.Exit(130) from None
    except (TypeError, ValueError, RuntimeError) as error:
        if not resume and not (out / "checkpoint.safetensors").exists():
            # nothing was trained: the folder is free for the next try
            (out / "config.json").unlink()
        if config["compile"] and isinstance(error, RuntimeError):
            raise ValueError(f"compile: {error}") from error
        raise
    pv.save_weights(pair, out / "weights.safetensors")
    _write_metrics(history, out / "metrics.csv")
    print(f"trained {len(history.loss)} epochs in {sum(history.seconds):.0f} s\n")
    effort = EFFORTS["quick"] | {"num_samples": config["num_samples"]}
    picture = _measure(pair, config, found, out, ROWS["quick"], effort)
    _write(_figures(pair, found, history, picture), out)


@app.command()
def measure(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Importance sampling and calibration alone.")
    ] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Smaller errors, for more time.")
    ] = False,
    num_samples: Annotated[int | None, typer.Option(help="Draws of q(z|x) for each datum.")] = None,
    rows: Annotated[
        int | None, typer.Option(help="Test data, at most; by default 1000 with --quick, else 100.")
    ] = None,
) -> None:
    """Measure the Bayesian picture of a run on its test data; writes picture.json, figures and report.html."""
    if quick and thorough:
        raise ValueError("measure: choose one of --quick and --thorough")
    if rows is not None and rows < 1:
        raise ValueError(f"rows: expected a positive whole number, got {rows}")
    config, found, pair = _open(run)
    name = "quick" if quick else "thorough" if thorough else "normal"
    effort = dict(EFFORTS[name])
    if num_samples is not None:
        effort["num_samples"] = num_samples
    picture = _measure(pair, config, found, run, ROWS[name] if rows is None else rows, effort)
    figures = _figures(pair, found, _read_metrics(run / "metrics.csv"), picture)
    _write(figures, run)
    note = f"Test split of {config['data']}, {found.description}; binarisation: {config['binarisation']}."
    captions = {CAPTIONS[name]: figure for name, figure in figures.items()}
    with _writing(run):
        page = report(
            picture,
            captions,
            title=f"The Bayesian picture of {run.name}",
            note=note,
            about=repr(pair),
        )
        (run / "report.html").write_text(page, encoding="utf-8")
    print(f"report in {run / 'report.html'}")


@app.command()
def plot(run: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Draw the figures of a run."""
    _, found, pair = _open(run)
    _write(_figures(pair, found, _read_metrics(run / "metrics.csv")), run)


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    count: Annotated[int, typer.Option(help="How many.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A .npz file; by default samples.npz in the run folder.")
    ] = None,
) -> None:
    """Draw z ~ p(z) and x ~ p(x|z); writes them as an .npz file, and the means of p(x|z) as a figure."""
    import numpy as np

    _, _, pair = _open(run)
    torch.manual_seed(seed)
    drawn = pv.simulate(pair, count)
    path = run / "samples.npz" if out is None else out
    with _writing(path.parent):
        np.savez(path, **{name: value.cpu().numpy() for name, value in drawn.items()})
        means = pv.reconstruct(pair, drawn["x"], at={"z": drawn["z"]})["x"]
        plots.data(means, title="means of p(x|z), z drawn from p(z)").savefig(
            path.with_suffix(".png"), dpi=150
        )
    print(f"{count} draws in {path}, and {path.with_suffix('.png')}")


def _measure(
    pair: pv.VAE, config: dict, found: Dataset, out: Path, rows: int, effort: dict
) -> Picture:
    torch.manual_seed(config["seed"])
    picture = pv.diagnostics.picture(pair, found.test[:rows].to(config["device"]), **effort)
    protocol = {"data": config["data"], "split": "test", "binarisation": config["binarisation"]}
    with _writing(out):
        (out / "picture.json").write_text(json.dumps(protocol | picture.as_dict(), indent=2) + "\n")
    print(f"test split of {config['data']}, binarisation: {config['binarisation']}\n{picture}")
    return picture


def _figures(
    pair: pv.VAE, found: Dataset, history: pv.History, picture: Picture | None = None
) -> dict[str, Figure]:
    """The figures of a run, by name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        device = next(pair.parameters()).device
        x, labels = (
            found.test[:2000].to(device),
            None if found.labels is None else found.labels[2][:2000],
        )
        seen = pv.reconstruct(pair, x)
        z = seen["z"]
        simulated = pv.simulate(pair, 60, mean=True)["x"]
        figures = {
            "history": plots.history(history),
            "reconstructions": plots.reconstructions(x[:12], seen["x"][:12]),
            "samples": plots.data(
                simulated, title="means of p(x|z), z drawn from p(z)", columns=12
            ),
            "latents": plots.latents(z, labels),
        }
        real = is_real(pair.variational.support)
        if real and z[0].numel() <= 2:
            low, high = z.quantile(0.005).item(), z.quantile(0.995).item()
            reach = (
                1.25 * low - 0.25 * high,
                1.25 * high - 0.25 * low,
            )  # heavy tails would take all of the grid
            grid = pv.diagnostics.grid_posterior(pair, x[:6], bounds=reach)
            figures["posterior"] = plots.posterior(grid, x[:6])
        elif picture is not None and picture.annealed is not None:
            q = torch.stack([pv.reconstruct(pair, x[:6])["z"] for _ in range(300)])
            figures["posterior"] = plots.posterior_draws(picture.annealed, q)
        if real and z[0].numel() == 2 and x.dim() == 4:
            bounds = (z.min().item(), z.max().item())
            axis = torch.linspace(*bounds, 17, device=device)
            at = torch.cartesian_prod(axis, axis).reshape(-1, *z.shape[1:])
            template: Tensor = x[:1].expand(len(at), *x.shape[1:])
            figures["decoded_grid"] = plots.decoded_grid(
                pv.reconstruct(pair, template, at={"z": at})["x"], bounds
            )
        if picture is not None and picture.calibration is not None:
            figures["calibration"] = plots.ranks(picture.calibration)
    return figures


def _write(figures: dict[str, Figure], out: Path) -> None:
    with _writing(out):
        (out / "figures").mkdir(exist_ok=True)
        for name, figure in figures.items():
            figure.savefig(out / "figures" / f"{name}.png", dpi=130)
    print(f"\nfigures in {out / 'figures'}: {', '.join(f'{name}.png' for name in figures)}")


def _write_metrics(history: pv.History, path: Path) -> None:
    with _writing(path.parent), open(path, "w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["epoch", *history._fields])
        writer.writerows((i, *row) for i, row in enumerate(zip(*history, strict=True), start=1))


def _read_metrics(path: Path) -> pv.History:
    try:
        with open(path, newline="") as f:
            rows = list(csv.DictReader(f))
        return pv.History(*([float(row[name]) for row in rows] for name in pv.History._fields))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"run: cannot read {path}: {error}") from error


def _free_folder(data: str) -> Path:
    stem, i = Path("runs") / Path(data).stem, 1
    folder = stem
    while (folder / "config.json").exists():
        i += 1
        folder = stem.with_name(f"{stem.name}-{i}")
    return folder


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn an OSError into a ValueError that names the folder."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"out: cannot write to {folder} ({error.strerror}); choose another folder"
        ) from error


def main() -> None:
    """The console script; errors are one line, and Ctrl-C says what to do."""
    try:
        app(prog_name="pyro-vae")
    except (TypeError, ValueError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
