"""The commands: train, measure, plot, sample."""

import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import pyro_vae as pv
from pyro_vae.arguments import check_whole
from pyro_vae.cli import parts, settings, steps
from pyro_vae.cli.advice import translate
from pyro_vae.cli.data import RunData, load_data
from pyro_vae.cli.figures import CAPTIONS, draw_figures
from pyro_vae.cli.parts import Config, list_names
from pyro_vae.cli.runs import Run, writing
from pyro_vae.diagnostics import Picture
from pyro_vae.look import plots
from pyro_vae.look.report import report

app = typer.Typer(
    help="Train variational autoencoders and measure the inference they do.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DATA = (
    f"Name of a data set: {list_names(pv.data.NAMES)}. "
    "Or a .npy, .npz, .csv or .pt file, or a folder of images."
)
PRIOR = f"The prior p(z), over the same set as q(z|x): {list_names(parts.PRIORS)}."
LIKELIHOOD = f"The likelihood p(x|z): {list_names(parts.LIKELIHOODS)}."
VARIATIONAL = f"The variational q(z|x): {list_names(parts.VARIATIONALS)}."
OBJECTIVE = (
    f"What training maximises: {list_names(parts.OBJECTIVES)}. "
    "What is measured afterwards is always log p(x) and the ELBO."
)
NETWORK = f"The network of p(x|z) and of q(z|x): {list_names(parts.NETWORKS)}."
BETA = "Weight of the KL term in training. The measured ELBO has weight 1."
ROWS = "Measure at most this many test data. By default 1000 with --quick, otherwise 100."

RunFolder = Annotated[Path, typer.Argument(help="Folder of the run.")]


@app.command()
def train(
    ctx: typer.Context,
    data: Annotated[str, typer.Option(help=DATA)] = "digits",
    prior: Annotated[str, typer.Option(help=PRIOR)] = "standard-normal",
    likelihood: Annotated[str, typer.Option(help=LIKELIHOOD)] = "bernoulli",
    variational: Annotated[str, typer.Option(help=VARIATIONAL)] = "normal",
    objective: Annotated[str, typer.Option(help=OBJECTIVE)] = "elbo",
    draws: Annotated[
        int, typer.Option(help="Draws of q(z|x) for each datum, in objectives that take several.")
    ] = 5,
    network: Annotated[str, typer.Option(help=NETWORK)] = "mlp",
    latent: Annotated[int, typer.Option(help="Number of dimensions of z.")] = 2,
    components: Annotated[
        int, typer.Option(help="Number of components of a mixture or vamp prior.")
    ] = 50,
    scale: Annotated[
        float | None, typer.Option(help="Fix the scale of p(x|z), for families that have one.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Number of passes through the training data.")] = 300,
    batch_size: Annotated[int, typer.Option(help="Number of data in each step.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-3,
    beta: Annotated[float, typer.Option(help=BETA)] = 1.0,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after this many epochs without a better ELBO on validation data."),
    ] = None,
    num_samples: Annotated[
        int, typer.Option(help="Draws of q(z|x) for each datum when measuring.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    device: Annotated[str, typer.Option(help="Device to compute on: cpu, cuda, ...")] = "cpu",
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the training step. Needs a C++ compiler.")
    ] = False,
    precision: Annotated[
        str | None, typer.Option(help="bf16 runs the networks' matrix products in bfloat16.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run. By default a new one in runs, named after the data."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out where it stopped.")
    ] = False,
) -> None:
    """Train a VAE, measure the Bayesian picture, and draw it."""
    run, config = _plan(ctx, out, resume)
    loaded = load_data(config)
    dataset = loaded.dataset
    pair = parts.build_pair(config, dataset)
    trained_by = parts.build_objective(config, pair, rows=len(dataset.train))
    config |= _describe(loaded)
    print(f"{pair}\n\n{dataset.description}; binarisation: {loaded.binarisation}")

    run.write_config(config)
    history = steps.fit(run, config, loaded, pair, trained_by, resume)
    pv.save_weights(pair, run.weights)
    run.write_history(history)
    print(f"trained {len(history.loss)} epochs in {sum(history.seconds):.0f} s\n")

    effort = steps.EFFORTS["quick"] | {"num_samples": config["num_samples"]}
    picture = steps.measure(run, config, loaded, pair, steps.ROWS["quick"], effort)
    _write_figures(run, draw_figures(pair, dataset, history, picture))


@app.command()
def measure(
    run: RunFolder,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only importance sampling and calibration.")
    ] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Smaller errors, in more time.")
    ] = False,
    num_samples: Annotated[int | None, typer.Option(help="Draws of q(z|x) for each datum.")] = None,
    rows: Annotated[int | None, typer.Option(help=ROWS)] = None,
) -> None:
    """Measure the Bayesian picture of a run on its test data.

    Writes picture.json, figures and report.html.
    """
    name = _choose_effort(quick, thorough)
    effort = dict(steps.EFFORTS[name])
    count = steps.ROWS[name] if rows is None else check_whole("rows", rows)
    if num_samples is not None:
        effort["num_samples"] = num_samples

    folder, config, data, pair = _open(run)
    picture = steps.measure(folder, config, data, pair, count, effort)
    figures = draw_figures(pair, data.dataset, folder.read_history(), picture)
    _write_figures(folder, figures)
    folder.write_report(_report(folder, config, data, pair, picture, figures))
    print(f"report in {folder.report}")


@app.command()
def plot(run: RunFolder) -> None:
    """Draw the figures of a run."""
    folder, _, data, pair = _open(run)
    _write_figures(folder, draw_figures(pair, data.dataset, folder.read_history()))


@app.command()
def sample(
    run: RunFolder,
    count: Annotated[int, typer.Option(help="Number of draws.")] = 100,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="An .npz file. By default samples.npz in the folder of the run."),
    ] = None,
) -> None:
    """Draw z from p(z) and x from p(x|z).

    Writes them as an .npz file, and the means of p(x|z) as a figure.
    """
    pair = _open(run)[-1]
    path = run / "samples.npz" if out is None else out
    image = path.with_suffix(".png")

    torch.manual_seed(seed)
    drawn = pv.simulate(pair, count)
    means = pv.reconstruct(pair, drawn["x"], at={"z": drawn["z"]})["x"]
    arrays: dict[str, Any] = {name: value.cpu().numpy() for name, value in drawn.items()}
    figure = plots.data(means, title="means of p(x|z), z drawn from p(z)")
    with writing(path.parent):
        np.savez(path, **arrays)
        figure.savefig(image, dpi=150)
    print(f"{count} draws in {path}, and {image}")


def main() -> None:
    """Run the command line. An error is one line, and Ctrl-C stops without a traceback."""
    try:
        app(prog_name="pyro-vae")
    except (TypeError, ValueError, FloatingPointError) as error:
        print(f"error: {translate(str(error), _options())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _options() -> set[str]:
    """The options of all commands, as Python spells them."""
    commands = typer.main.get_group(app).commands.values()
    return {
        parameter.name
        for command in commands
        for parameter in command.params
        if parameter.param_type_name == "option"
    }


def _plan(ctx: typer.Context, out: Path | None, resume: bool) -> settings.Plan:
    options = {name: value for name, value in ctx.params.items() if name not in ("out", "resume")}
    if not resume:
        plan = settings.begin(options, out)
    else:
        given = {name: options[name] for name in options if _is_given(ctx, name)}
        plan = settings.go_on(given, out)
    settings.check_device(plan.config["device"])
    return plan


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _describe(data: RunData) -> Config:
    """What config.json records beside the options."""
    return {
        "binarisation": data.binarisation,
        "event_shape": list(data.dataset.train.shape[1:]),
        "pyro_vae": pv.__version__,
        "torch": str(torch.__version__),
    }


def _open(folder: Path) -> tuple[Run, Config, RunData, pv.VAE]:
    """A run with its configuration, its data and its trained pair."""
    run = Run(folder)
    config = run.read_config()
    data = load_data(config)
    pair = parts.build_pair(config, data.dataset)
    run.load_weights(pair)
    return run, config, data, pair.to(config["device"])


def _choose_effort(quick: bool, thorough: bool) -> str:
    if quick and thorough:
        raise ValueError("measure: choose one of --quick and --thorough")
    if quick:
        return "quick"
    return "thorough" if thorough else "normal"


def _write_figures(run: Run, figures: dict) -> None:
    run.write_figures(figures)
    names = ", ".join(f"{name}.png" for name in figures)
    print(f"\nfigures in {run.figures}: {names}")


def _report(
    run: Run, config: Config, data: RunData, pair: pv.VAE, picture: Picture, figures: dict
) -> str:
    description, binarisation = data.dataset.description, config["binarisation"]
    note = f"Test split of {config['data']}, {description}; binarisation: {binarisation}."
    captions = {CAPTIONS[name]: figure for name, figure in figures.items()}
    title = f"The Bayesian picture of {run.folder.name}"
    return report(picture, captions, title=title, note=note, about=repr(pair))
