"""The commands: train, measure, plot, sample, explore."""

import sys
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from typer.core import TyperGroup

import pyro_vae as pv
from pyro_vae.arguments import check_seed, check_whole
from pyro_vae.cli import parts, settings, steps
from pyro_vae.cli.advice import translate
from pyro_vae.cli.data import RunData, load_data, sum_up_data
from pyro_vae.cli.explorer import build_page
from pyro_vae.cli.figures import draw_figures, find_caption
from pyro_vae.cli.objectives import OBJECTIVES, build_objective
from pyro_vae.cli.parts import Config, list_names
from pyro_vae.cli.runs import Run, writing
from pyro_vae.cli.steps import Job, Measured
from pyro_vae.cli.stories import PAIRS, choose_story
from pyro_vae.cli.stories.story import Figures, Request
from pyro_vae.cli.together import is_restarted, joined
from pyro_vae.data.columns import KINDS
from pyro_vae.files import replacing
from pyro_vae.look.report import report
from pyro_vae.objectives.objective import Loss
from pyro_vae.processes import ask_first, entered_by_first, find_rank, is_first
from pyro_vae.training.settings import check_device


class Commands(TyperGroup):
    """The commands. Each says a line where Ctrl-C stops it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            steps.tell(f"stopped before {ctx.invoked_subcommand} was done")
            raise typer.Exit(steps.find_status(stop)) from None


app = typer.Typer(
    cls=Commands,
    help="Train variational autoencoders and measure the inference they do.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DATA = (
    f"Name of a data set: {list_names(pv.data.NAMES)}. "
    "Or a .npy, .npz, .csv (a first row of words is a header) or .pt file, "
    "or a folder of images."
)
PAIR = f"The generative story: {list_names(PAIRS)}."
PRIOR = (
    f"The prior p(z), over the same set as q(z|x): {list_names(parts.PRIORS)}. "
    "By default standard-normal; normal for a sequence, full-normal for clusters, "
    "approximate-dirichlet for topics."
)
LATENT = "Number of dimensions of z. By default 2 for a vae, otherwise what suits the pair."
LEVELS = (
    "Dimensions of each level of a hierarchical pair, from the bottom up, such as 40,20. "
    "By default 16,8."
)
ORDER = (
    "Order of q of a hierarchical pair: bottom-up draws the lowest level first, top-down the "
    "highest. By default bottom-up."
)
LABELS = (
    "Number of labels of the training data that are known, with a labelled or multimodal pair. "
    "They are balanced and drawn by the seed. By default all. With a labelled pair and 0 there are "
    "clusters."
)
LABEL_WEIGHT = (
    "Weight of log q(y|x) of the known labels in training, with a labelled pair. By default 50. "
    "With it the loss is no bound on log p(x). 0 is the ELBO alone. "
    "With a multimodal pair the weight of log p(label|z), by default 10, and 1 is none."
)
SUBSETS = (
    "Train a multimodal pair on both modalities and on each alone, which it does by default, or on "
    "both alone."
)
CLUSTERS = (
    "Number of clusters, with --labels 0. By default as many as the data have labels, or else 10."
)
START_EPOCHS = (
    "Epochs of a plain VAE, a mixture of whose codes is where clusters start. 0 is a random start. "
    "By default 40."
)
COLUMNS = (
    "What columns of a table are, where that is not found, such as age=real,id=leave out or "
    f"size=small<large: {list_names(KINDS)}, leave out. "
    "With --pair table, whose data are a CSV file."
)
CONDITION = "Make a vae conditional: labels gives the class of each datum to p(x|z,c) and q(z|x,c)."
GIVEN = "Draw these classes alone, such as 3 or 3,5, from a pair that knows classes."
COUNT = "Number of draws, for each class where there are classes. By default 100, or 10 a class."
LIKELIHOOD = (
    f"The likelihood p(x|z): {list_names(parts.LIKELIHOODS)}. By default bernoulli, or multinomial "
    "with --network topics."
)
VARIATIONAL = f"The variational q(z|x): {list_names(parts.VARIATIONALS)}."
OBJECTIVE = (
    f"What training maximises: {list_names(OBJECTIVES)}. "
    "What is measured afterwards is always log p(x) and the ELBO."
)
NETWORK = (
    f"The network of p(x|z) and of q(z|x): {list_names(parts.NETWORKS)}. "
    "topics makes a topic model of bags of words."
)
BETA = "Weight of the KL term in training. The measured ELBO has weight 1."
NUM_SAMPLES = "Draws of q(z|x) for each datum when measuring. By default 1000."
ROWS = "Measure at most this many test data. By default 1000 with --quick, otherwise 100."

RunFolder = Annotated[Path, typer.Argument(help="Folder of the run.")]


@app.command()
def train(
    ctx: typer.Context,
    data: Annotated[str, typer.Option(help=DATA)] = "digits",
    pair: Annotated[str, typer.Option(help=PAIR)] = "vae",
    prior: Annotated[str | None, typer.Option(help=PRIOR)] = None,
    likelihood: Annotated[str | None, typer.Option(help=LIKELIHOOD)] = None,
    variational: Annotated[str, typer.Option(help=VARIATIONAL)] = "normal",
    objective: Annotated[str, typer.Option(help=OBJECTIVE)] = "elbo",
    draws: Annotated[
        int, typer.Option(help="Draws of q(z|x) for each datum, in objectives that take several.")
    ] = 5,
    network: Annotated[str, typer.Option(help=NETWORK)] = "mlp",
    latent: Annotated[int | None, typer.Option(help=LATENT)] = None,
    levels: Annotated[str | None, typer.Option(help=LEVELS)] = None,
    order: Annotated[str | None, typer.Option(help=ORDER)] = None,
    labels: Annotated[int | None, typer.Option(help=LABELS)] = None,
    label_weight: Annotated[float | None, typer.Option(help=LABEL_WEIGHT)] = None,
    clusters: Annotated[int | None, typer.Option(help=CLUSTERS)] = None,
    start_epochs: Annotated[int | None, typer.Option(help=START_EPOCHS)] = None,
    subsets: Annotated[bool | None, typer.Option(help=SUBSETS)] = None,
    condition: Annotated[str | None, typer.Option(help=CONDITION)] = None,
    columns: Annotated[str | None, typer.Option(help=COLUMNS)] = None,
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
    num_samples: Annotated[int | None, typer.Option(help=NUM_SAMPLES)] = None,
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
    resume = resume or ask_first(partial(is_restarted, out))
    plan = ask_first(partial(_plan, ctx, out, resume))
    with entered_by_first(partial(plan.run.training, is_new=not resume)):
        _train(plan, resume)


def _train(plan: settings.Plan, resume: bool) -> None:
    run, config = plan
    job = _build(run, config)
    trained_by = build_objective(config, job.pair, rows=len(job.data.dataset.train))
    print(f"{job.pair}\n\n{_describe_training(job, trained_by)}")

    about = _describe(job.data)
    _check_data(run, config, about)
    run.write_config(config | about)
    history = steps.fit(job, trained_by, resume)
    run.save_weights(job.pair)
    run.write_history(history)
    print(f"trained {len(history.loss)} epochs in {sum(history.seconds):.0f} s\n")

    effort = steps.EFFORTS["quick"] | {"num_samples": config["num_samples"]}
    measured = steps.measure(job, steps.ROWS["quick"], effort)
    _write_figures(run, draw_figures(job.story, job.pair, job.data, history, measured.picture))
    _complete(job)


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
    count = steps.ROWS[name] if rows is None else check_whole("rows", rows)
    job = _open(run)
    effort = steps.choose_effort(job.story, name, num_samples)
    measured = steps.measure(job, count, effort)

    history = job.run.read_history()
    figures = draw_figures(job.story, job.pair, job.data, history, measured.picture)
    _write_figures(job.run, figures)
    job.run.write_report(_report(job, measured, figures))
    print(f"report in {job.run.report}")


@app.command()
def plot(run: RunFolder) -> None:
    """Draw the figures of a run."""
    job = _open(run)
    history = job.run.read_history()
    _write_figures(job.run, draw_figures(job.story, job.pair, job.data, history))


@app.command()
def sample(
    run: RunFolder,
    count: Annotated[int | None, typer.Option(help=COUNT)] = None,
    given: Annotated[str | None, typer.Option(help=GIVEN)] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="An .npz file. By default samples.npz in the folder of the run."),
    ] = None,
) -> None:
    """Draw z from p(z) and x from p(x|z).

    Writes them as an .npz file, and the means of p(x|z) as a figure.
    """
    seed = check_seed("seed", seed)
    count = None if count is None else check_whole("count", count)
    job = _open(run)
    path = run / "samples.npz" if out is None else out
    image = path.with_suffix(".png")
    request = Request(count, None if given is None else _read_given(given))

    torch.manual_seed(seed)
    values, figure, frame = job.story.sample(job.pair, job.data, request)
    arrays: dict[str, Any] = {name: value.cpu().numpy() for name, value in values.items()}
    with writing(path.parent):
        # numpy adds .npz to a name without it, but not to an open file
        with replacing(path) as half, open(half, "wb") as file:
            np.savez(file, **arrays)
        with replacing(image) as half:
            figure.savefig(half, dpi=150)
        if frame is not None:
            with replacing(path.with_suffix(".csv")) as half:
                frame.to_csv(half, index=False)
    rows = len(next(iter(arrays.values())))
    more = "" if frame is None else f" and {path.with_suffix('.csv')}"
    print(f"{rows} draws in {path}{more}, and {image}")


@app.command()
def explore(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs of the same data.")],
    out: Annotated[
        Path | None,
        typer.Option(help="An .html file. By default explore.html in the folder of the first run."),
    ] = None,
) -> None:
    """Write a page in which z and q(z|x) can be dragged, for pairs with two latents."""
    path = runs[0] / "explore.html" if out is None else out
    page = build_page([_open(folder) for folder in runs])
    with writing(path.parent), replacing(path) as half:
        half.write_text(page, encoding="utf-8")
    print(f"{path}, {len(page.encode()) / 1e6:.1f} MB, opens in a browser")


def main() -> None:
    """Run the command line. An error is one line, and so is Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # a terminal that has no ‖ and no ± shows question marks
            stream.reconfigure(errors="replace")
    with joined():
        _call()


def _call() -> None:
    try:
        app(prog_name="pyro-vae")
    except (TypeError, ValueError, FloatingPointError, OSError) as error:
        where = "" if is_first() else f"process {find_rank()}: "
        print(f"{where}error: {translate(str(error), _options())}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        print(f"error: not enough memory, take smaller numbers: {reason}", file=sys.stderr)
        sys.exit(2)


def _is_lack_of_memory(error: Exception) -> bool:
    """Whether memory ran out. torch says so of the CPU with no type of its own."""
    has_type = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return has_type or "can't allocate memory" in str(error)


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
    check_device(plan.config["device"])
    check_seed("seed", plan.config["seed"])
    check_whole("num_samples", plan.config["num_samples"])
    return plan


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _check_data(run: Run, config: Config, about: Config) -> None:
    """Check that a run that goes on has the data of its start."""
    if config.get("data_sum", about["data_sum"]) != about["data_sum"]:
        raise ValueError(
            f"data: the run in {run.folder} was made with other data than {config['data']} holds; "
            "give the file of its start, or start another run"
        )


def _describe(data: RunData) -> Config:
    """What config.json records beside the options."""
    return {
        "data_sum": sum_up_data(data),
        "binarisation": data.binarisation,
        "event_shape": list(data.dataset.train.shape[1:]),
        "pyro_vae": pv.__version__,
        "torch": str(torch.__version__),
    }


def _describe_training(job: Job, objective: Loss) -> str:
    """A line on the data, and one on what is trained where that is no bound."""
    data = job.data
    lines = [f"{data.dataset.description}; binarisation: {data.binarisation}"]
    if not objective.is_lower_bound:
        lines.append("what is trained is no bound on log p(x); the ELBO is measured beside it")
    return "\n".join([*filter(None, [job.story.describe(data)]), *lines])


def _build(run: Run, config: Config) -> Job:
    """A run with its data, and its pair at its start."""
    story = choose_story(config)
    data = load_data(config, story.load, story.arrange)
    return Job(run, config, story, data, story.build(config, data))


def _open(folder: Path) -> Job:
    """A run with its data and its trained pair."""
    run = Run(folder)
    job = _build(run, run.read_config())
    run.load_weights(job.pair)
    job.pair.to(job.config["device"])
    return job


def _read_given(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(
            f"given: expected labels with commas between, such as 3,5, got {text!r}"
        ) from None


def _choose_effort(quick: bool, thorough: bool) -> str:
    if quick and thorough:
        raise ValueError("measure: choose one of --quick and --thorough")
    if quick:
        return "quick"
    return "thorough" if thorough else "normal"


def _write_figures(run: Run, figures: Figures) -> None:
    run.write_figures(figures)
    names = ", ".join(f"{name}.png" for name in figures)
    print(f"\nfigures in {run.figures}: {names}")


def _complete(job: Job) -> None:
    """Fill in the missing cells of a table, and say where the file is."""
    frame = job.story.complete(job.pair, job.data)
    if frame is not None:
        job.run.write_imputed(frame)
        print(f"the table with its missing cells filled in: {job.run.imputed}")


def _report(job: Job, measured: Measured, figures: Figures) -> str:
    data = job.data
    note = (
        f"Test split of {job.config['data']}, {data.dataset.description}; "
        f"binarisation: {data.binarisation}."
    )
    captions = {find_caption(name): figure for name, figure in figures.items()}
    title = f"The Bayesian picture of {job.run.folder.name}"
    about = repr(job.pair)
    return report(
        measured.picture,
        captions,
        verdict=measured.verdict,
        findings=measured.findings,
        title=title,
        note=note,
        about=about,
    )
