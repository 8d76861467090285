"""Why a loss cannot be compiled, in words."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from torch import nn

import pyro_vae as pv
from tests.compiling.pairs import ADAM, vae


def misfit(what):
    encoder = nn.Linear(5, 4)

    def model(x):
        n = len(x) if what == "len" else x.shape[0]
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            if what == "if" and z.sum() > 0:
                z = 2 * z
            scale = float(x.std()) if what == "item" else 1.0
            pyro.sample(
                "x", dist.Normal(z.sum(-1, keepdim=True).expand(-1, 5), scale).to_event(1), obs=x
            )

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            loc, raw = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))

    return model, guide


@pytest.mark.parametrize(
    "what, line",
    [
        ("if", '`if what == "if" and z.sum'),
        ("item", "`scale = float.x.std"),
        ("len", "`n = len.x."),
    ],
)
def test_what_cannot_be_compiled_is_named_with_its_line_and_the_way_out(what, line, x):
    svi = SVI(*misfit(what), pv.FusedOptim(torch.optim.Adam, ADAM), pv.CompiledTrace_ELBO())
    out = "x.shape.0., not len.x." if what == "len" else "use torch.where"
    with pytest.raises(
        RuntimeError, match=rf"(?s)line \d+ of .*test_errors.py, {line}.*{out}.*Trace_ELBO"
    ):
        svi.step(x)


def test_without_a_compiler_the_error_says_what_to_install(x, monkeypatch):
    def none(*args, **kwargs):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")

    objective = pv.Objective(vae())
    objective.compile()
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", none)
    with pytest.raises(RuntimeError, match=r"install g\+\+ or clang"):
        objective(x)
