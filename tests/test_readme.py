"""What the README says in Python runs."""

import re
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
import zuko

import pyro_vae as pv
from tests.commands import call  # noqa: F401

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def names():
    x = torch.bernoulli(torch.full((16, 1, 28, 28), 0.3))
    return {"x": x, "x_train": x, "x_val": x, "x_test": x[:4]}


def test_the_first_block_and_training(names):
    first, training = BLOCKS[0], BLOCKS[3]
    exec(first + training, names)


def test_each_swap(names):
    names |= {"pv": pv, "dist": dist, "zuko": zuko, "q": pv.Normal(20, given=(1, 28, 28))}
    lines = [line.partition("#")[0].strip() for line in BLOCKS[1].splitlines()]
    assert len(lines) == 7
    for line in lines:
        name, expression = (side.strip() for side in line.split("=", 1))
        made = eval(expression, names)
        parts = {
            "prior": pv.StandardNormal(20),
            "likelihood": pv.Bernoulli((1, 28, 28), given=20),
            "variational": names["q"],
        }
        if name in parts:
            vae = pv.VAE(**parts | {name: made})
            x = names["x"].long() if "Categorical" in line else names["x"]
            assert pv.diagnostics.log_weights(vae, x, num_samples=2).isfinite().all()
        else:
            assert made(3, given=2)(torch.zeros(5, 2)).event_shape == (3,)


def test_the_parts(names):
    names |= {"pv": pv}
    names["vae"] = pv.VAE(
        prior=pv.StandardNormal(20),
        likelihood=pv.Bernoulli((1, 28, 28), given=20),
        variational=pv.Normal(20, given=(1, 28, 28)),
    )
    exec(BLOCKS[2], names)
    vae = pv.VAE(
        prior=names["prior"], likelihood=names["likelihood"], variational=names["variational"]
    )
    assert pv.diagnostics.log_weights(vae, names["x"], num_samples=2).isfinite().all()
    assert names["objective"](names["x"]).isfinite()


def test_the_tools_for_what_was_written_by_hand(names):
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            shape = z.reshape(*z.shape, 1, 1, 1).expand(*z.shape, 1, 28, 28)
            pyro.sample("x", dist.Bernoulli(logits=shape).to_event(3), obs=x)

    raw = torch.nn.Linear(1, 1)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(raw(x.mean((1, 2, 3))[:, None])[:, 0], 0.1))

    exec(BLOCKS[4], names | {"pv": pv, "model": model, "guide": guide})


def test_the_fast_path(names):
    assert "compile=True" in BLOCKS[5]
    exec(BLOCKS[0] + BLOCKS[5].replace("epochs=50", "epochs=2"), names | {"torch": torch})


def test_what_is_printed_has_the_shape_that_the_readme_shows(call):  # noqa: F811
    verdict, notes = re.findall(r"```\n((?:It worked|± is).*?)```", README, re.DOTALL)
    _, out, _ = call("train", "--epochs", 60, "--num-samples", 50)

    def shape(text):
        numbers = re.compile(r"-?\d+(\.\d+)?( s| %)?")
        return [
            numbers.sub("#", line).split()
            for line in text.splitlines()
            if not line.startswith(("- ", "Calibration"))
        ]

    assert shape(f"{verdict}\n{notes}") == shape(out[out.index("It worked") :])
