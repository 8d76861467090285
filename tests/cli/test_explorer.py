from pathlib import Path

import pytest
import torch

from pyro_vae.cli.explorer import build_page, put_one_of_each_first
from pyro_vae.cli.runs import Run
from pyro_vae.cli.steps import Job
from pyro_vae.cli.stories import choose_story
from tests.commands import CONFIG, QUICK, arrange, build


@pytest.fixture
def train(call, tmp_path):
    """Train on a few small images of a seed."""

    def train(out, *options, seed=0):
        generator = torch.Generator().manual_seed(seed)
        data = tmp_path / f"data{seed}.pt"
        torch.save(torch.rand(60, 1, 4, 4, generator=generator).round(), data)
        assert call("train", *QUICK, "--data", data, *options, "--out", out)[0] == 0

    return train


def test_runs_are_explored_beside_each_other(call, train, tmp_path):
    for beta in (1, 0.5):
        train(f"run{beta}", "--beta", beta)
    code, out, err = call("explore", "run1", "run0.5")
    assert code == 0, err
    assert "run1/explore.html" in out and "MB" in out
    page = (tmp_path / "run1" / "explore.html").read_text()
    assert '"beta 1"' in page and '"beta 0.5"' in page and "data0.pt" in page


@pytest.mark.parametrize(
    "options, said",
    [
        (("--latent", 3), "one latent of two dimensions"),
        (("--variational", "mixture"), "a normal q(z|x)"),
    ],
)
def test_what_cannot_be_explored_is_said(call, train, options, said):
    train("run", *options)
    code, _, err = call("explore", "run")
    assert code == 2 and said in err and "Traceback" not in err


def test_pairs_that_take_more_than_x_are_refused():
    config = CONFIG | {"condition": "labels"}
    data = arrange(config, torch.rand(20, 5), labels=torch.arange(20) % 3)
    job = Job(Run(Path("run")), config, choose_story(config), data, build(config, data))
    with pytest.raises(ValueError, match="run takes more than x"):
        build_page([job])


def test_runs_of_different_data_are_refused(call, train):
    train("one")
    train("two", seed=1)
    code, _, err = call("explore", "one", "two")
    assert code == 2 and "the same data" in err and "two" in err
    assert call("explore", "nowhere")[0] == 2


def test_one_of_each_label_comes_first():
    order = put_one_of_each_first(torch.tensor([2, 2, 0, 1, 0]))
    assert order.tolist() == [2, 3, 0, 1, 4]
