"""What people read when something does not fit speaks of the options that they can give."""

import re

import numpy as np
import pytest

from pyro_vae.cli.advice import FAMILIES, translate
from tests.commands import QUICK

RNG = np.random.RandomState(0)
DATA = {
    "real": RNG.randn(60, 5).astype(np.float32) * 3,
    "classes": RNG.randint(0, 4, (60, 5)),
    "negative": RNG.randint(-1, 4, (60, 5)),
    "counts": RNG.poisson(3.0, (60, 5)),
    "fractions": RNG.rand(60, 5).astype(np.float32) * 3,
    "edge": np.clip(RNG.rand(60, 5).astype(np.float32) * 2 - 0.5, 0, 1),
    "holes": np.where(RNG.rand(60, 5) < 0.5, np.nan, 0.5),
}
# what only a person who writes Python can do
PYTHON = re.compile(r"\bpv\.|torch\.bernoulli|\w+=(True|'|\d|pv)|\.float\(\)|_stderr")


@pytest.fixture
def train(call, tmp_path):
    """Train on own data: what the error says, in one line."""

    def run(data, *arguments):
        np.save(tmp_path / f"{data}.npy", DATA[data])
        code, _, err = call("train", *QUICK, "--data", f"{data}.npy", *arguments)
        assert code == 2 and err.count("\n") == 1, err
        return err

    return run


@pytest.mark.parametrize(
    "data, likelihood, said",
    [
        ("real", "bernoulli", "where grey values are binarised, or use --likelihood normal"),
        ("classes", "bernoulli", "78|48.* not 0 or 1; they run from 0 to 3.*--likelihood"),
        ("counts", "normal", r"integers .*\(--likelihood poisson, --likelihood categorical\)"),
        ("counts", "normal", "Save it as floating-point numbers, scaled as you mean them"),
        ("fractions", "categorical", "use --likelihood categorical or --likelihood ordinal, if"),
        ("negative", "categorical", "Number the classes from 0 and use --likelihood categorical"),
        ("fractions", "binomial", "--likelihood binomial or --likelihood poisson, if they are"),
        ("fractions", "poisson", "Round it to counts, .*--likelihood normal or --likelihood gamma"),
        ("fractions", "beta", r"not in \[0, 1\].*Scale it, .*use --likelihood normal"),
        ("real", "gamma", "not above 0.*use --likelihood normal"),
        ("edge", "beta", r"\(--likelihood continuous-bernoulli, --likelihood normal\)"),
        ("holes", "normal", "NaN or infinite, .*Remove those rows, or fill the values in.$"),
    ],
)
def test_data_that_do_not_fit_the_likelihood(train, data, likelihood, said):
    err = train(data, "--likelihood", likelihood)
    assert re.search(said, err.strip()) and not PYTHON.search(err), err


@pytest.mark.parametrize(
    "arguments, said",
    [
        ("--prior dirichlet", "take --prior and --variational from families over the same set"),
        ("--likelihood poisson --scale 1", "no parameter or option scale; leave --scale out"),
        ("--network conv", "use --network mlp"),
        (
            "--prior uniform-sphere --variational power-spherical --latent 1",
            "PowerSpherical: expected --latent of at least 2, got 1",
        ),
        (
            "--variational full-normal --objective free-bits",
            "take a family such as --variational normal",
        ),
        (
            "--variational bernoulli --prior bernoulli --objective sticking-the-landing",
            "which this objective needs; take --objective leave-one-out or --objective vimco",
        ),
        (
            "--objective doubly-reparametrised --beta 2",
            "error: --objective: .*--objective elbo or --objective analytic-kl with --beta",
        ),
        ("--objective vimco --draws 1", "error: --draws: leaving one draw out"),
        ("--precision fp8", "error: --precision: expected 'bf16', got 'fp8'"),
        ("--device nope", "error: --device: cannot use 'nope'"),
        ("--prior norml", "error: --prior: unknown name 'norml'; known are standard-normal"),
    ],
)
def test_parts_that_do_not_fit_each_other(train, arguments, said):
    likelihood = () if "--likelihood" in arguments else ("--likelihood", "poisson")
    err = train("counts", *likelihood, *arguments.split())
    assert re.search(said, err) and not PYTHON.search(err), err


def test_a_name_of_python_becomes_the_first_name_of_the_command_line():
    assert FAMILIES["likelihood"]["DiscretisedLogisticMixture"] == "discretised-logistic-mixture"
    assert FAMILIES["variational"]["Flow"] == "nsf"


@pytest.mark.parametrize(
    "message, said",
    [
        ("num_samples: expected 3", "--num-samples: expected 3"),
        ("checkpoint: there is no file", "checkpoint: there is no file"),
        ("or leave compile=True and CompiledTrace_ELBO away", "or leave --compile away"),
        ("go on with resume=True, or", "go on with --resume, or"),
        ("use pv.Nothing, or pv.Gamma", "use pv.Nothing, or --likelihood gamma"),
        ("latent 'z': use pv.Gamma", "latent 'z': use --variational gamma"),
    ],
)
def test_what_else_is_said(message, said):
    assert translate(message, {"num_samples", "compile"}) == said
