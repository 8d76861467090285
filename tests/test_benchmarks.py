"""Each benchmark runs, shortened and without the rivals, and times what it says."""

import doctest
import importlib
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pyro.infer import Trace_ELBO

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = {"step", "epoch", "evidence", "scaling", "startup", "beside", "busy"}
SCRIPTS |= {"processes", "honesty", "memory", "bad_inputs", "faults"}
RIVALS = ("numpyro", "jax", "pythae")


@pytest.fixture
def load(monkeypatch):
    """Import a benchmark by name, as if it were run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in {*SCRIPTS, "rivals", "timing"} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.fixture
def alone(monkeypatch):
    """As if no rival were installed."""
    for name in [name for name in sys.modules if name.split(".")[0] in RIVALS]:
        monkeypatch.delitem(sys.modules, name)
    for name in RIVALS:
        monkeypatch.setitem(sys.modules, name, None)


def test_each_benchmark_is_here():
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == SCRIPTS | {"rivals", "timing"}


def test_honesty(load, capsys, monkeypatch):
    honesty = load("honesty")
    monkeypatch.setattr(honesty, "WORLDS", ((2, 1000.0),))
    tables = honesty.main(["khat", "coverage", "gaps", "modes", "--short"])
    assert {name: found for name, found, _ in tables["khat"]}["normal, 50 nats"] > 5
    assert len(tables["coverage"]) == 8 and all(row[2] >= row[1] for row in tables["coverage"])
    assert all(abs(found - truth) < 0.1 + 5 * error for _, found, error, truth, _ in tables["gaps"])
    assert [row[1] for row in tables["modes"]] == [0, 0, 0, 1]
    assert "| Pareto, k = 0.7 |" in capsys.readouterr().out


def test_memory(load, here, capsys):
    found = here(load("memory")).main(["--short", "--only", "load .npy of uint8"])
    assert found["load .npy of uint8"]["seconds"] > 0
    assert "s / GB" in capsys.readouterr().out


def test_processes():
    command = [sys.executable, str(BENCHMARKS / "processes.py"), "--short"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "all-reduce of the gradients" in done.stdout
    assert "steps a second, two processes / one" in done.stdout


def test_bad_inputs(load, capsys):
    bad_inputs = load("bad_inputs")
    found = bad_inputs.main([])
    assert len(found) > 500 and "bad inputs" in capsys.readouterr().out
    assert [f for f in found if f.outcome != bad_inputs.CLEAR] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
def test_faults():
    # in a process of its own, for one that has computed gradients cannot be forked
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "faults.py"), "--short"],
        env=os.environ | {"PYTHONPATH": str(BENCHMARKS.parent)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| while a file is written | 1 | 1 | 0 | 0 |" in done.stdout


def test_timing_examples(load):
    found = doctest.testmod(load("timing"))
    assert found.attempted and not found.failed


def test_two_checkouts_are_compared_round_by_round(load, monkeypatch, capsys):
    beside = load("beside")
    table = "\nmlp: 784-400-20; ms a step\n\n|  | median | ours / it |\n| --- | ---: | ---: |\n"
    costs = iter([4.0, 2.0, 3.0, 6.0])

    def turn(checkout, benchmark, options, column):
        assert (benchmark, options) == ("step.py", ["--shapes", "mlp"])
        return beside.read_column(f"{table}| ours, eager | {next(costs)} | 1.00 |", column)

    monkeypatch.setattr(beside, "run", turn)
    (row,) = beside.main(["..", "step.py", "--rounds", "2", "--", "--shapes", "mlp"])
    # the first round runs the other checkout first, the second runs this one first
    assert row == ("mlp: 784-400-20: ours, eager", 5.0, 2.5, 0.5, 0.5, 0.5)
    assert "ours, eager" in capsys.readouterr().out


def test_a_script_starts_anew_with_less_of_the_processor(load, monkeypatch):
    timing, started = load("timing"), []
    monkeypatch.setattr(timing.os, "execv", lambda *args: started.append(args))
    timing.restrict(None)
    assert not started
    for name in timing.LIMITS["avx2"]:
        monkeypatch.setenv(name, "")
    timing.restrict("avx2")
    assert len(started) == 1 and os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    timing.restrict("avx2")
    assert len(started) == 1


def test_race_pairs_by_round_and_rotates(load):
    noise, order = iter([1.0, 1.0, 4.0, 4.0, 2.0, 2.0]), []

    def contestant(name, cost):
        def turn(steps):
            order.append(name)
            return cost * steps * next(noise)

        return lambda: turn

    def absent():
        raise ImportError("No module named 'absent'", name="absent")

    makers = {"a": contestant("a", 1.0), "b": contestant("b", 2.0), "c": absent}
    rows, missing = load("timing").race(makers, ours="a", rounds=3, steps=5, rehearse=False)
    assert missing == {"c": "not installed (absent)"}
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert rows["a"][:4] == (1.0, 1.5, 2.0, 1.0)
    assert rows["b"][:4] == (2.0, 3.0, 4.0, 0.5)


def test_table_as_markdown(load, capsys):
    load("timing").show(
        "title", ["s", "MB"], [["a", "1", "2"]], {"b": "not installed (c)"}, markdown=True
    )
    lines = [line.replace(" ", "") for line in capsys.readouterr().out.strip().splitlines()]
    assert lines == ["title", "", "||s|MB|", "|---|---:|---:|", "|a|1|2|", "b:notinstalled(c)"]


def test_peak_grows_with_what_is_held(load):
    with load("timing").Peak() as peak:
        held = torch.ones(2**25)
    assert 100 < peak.megabytes < 300 and len(held) == 2**25


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", ["mlp", "iwae", "iwae-5", "conv", "wide"])
def test_the_networks_are_of_one_size(load, name):
    rivals = load("rivals")
    shape = rivals.SHAPES[name]
    vae = rivals.ours(shape)
    assert (
        parameters(rivals.Plain(shape)) == parameters(rivals.PyroExample(shape)) == parameters(vae)
    )

    body, width = rivals.layers(shape)
    encoder = [*body, torch.nn.Linear(width, 2 * shape.latent)]
    sized = [
        *rivals._sized(encoder, rivals.EVENT),
        *rivals._sized(rivals.decoder(shape), (shape.latent,), True),
    ]
    assert sum(m.weight.numel() for m, *_ in sized) == sum(
        p.numel() for p in vae.parameters() if p.dim() > 1
    )
    assert [needs for *_, needs in sized] == [False] + [True] * (len(sized) - 1)


@pytest.mark.parametrize("name", ["iwae-5", "conv"])
def test_rivals_that_are_installed_are_of_that_size(load, name):
    rivals = load("rivals")
    shape, size = rivals.SHAPES[name], parameters(rivals.ours(rivals.SHAPES[name]))
    pytest.importorskip("pythae")
    assert parameters(rivals.pythae_vae(shape)) == size
    jax = pytest.importorskip("jax")
    pytest.importorskip("numpyro")
    svi = rivals.numpyro_svi(shape, "cpu")
    params = svi.get_params(svi.init(jax.random.PRNGKey(0), jax.numpy.zeros((2, rivals.PIXELS))))
    assert sum(leaf.size for leaf in jax.tree_util.tree_leaves(params)) == size


@pytest.mark.parametrize("name", ["mlp", "iwae-5", "conv"])
def test_plain_and_pyro_score_alike(load, name):
    rivals = load("rivals")
    shape = rivals.SHAPES[name]
    x = rivals.binary(3, *rivals.EVENT)
    modules = [
        rivals.Plain(shape),
        *(rivals.PyroExample(shape, logits=logits) for logits in (False, True)),
    ]
    for module in modules:
        for p in module.parameters():
            torch.nn.init.zeros_(p)
    # q is the prior and every pixel a fair coin, so each weight is exactly p(x)
    exact = rivals.PIXELS * math.log(2)
    assert modules[0](x).item() == pytest.approx(exact, rel=1e-5)
    for module in modules[1:]:
        assert Trace_ELBO().loss(module.model, module.guide, x) / 3 == pytest.approx(
            exact, rel=1e-5
        )


def test_onednn_products_are_products(load):
    rivals = load("rivals")
    if not rivals.onednn():
        pytest.skip("torch has no oneDNN here")
    x, w = torch.randn(7, 5), torch.randn(3, 5)
    torch.testing.assert_close(rivals.through_onednn(x, w), x @ w.T)
    torch.testing.assert_close(rivals.through_onednn(x[:3].T, w.T), x[:3].T @ w)


def times(rows):
    return all(
        0 < row.minimum <= row.quartile <= row.median and row.ratio > 0 for row in rows.values()
    )


def test_step(load, alone, capsys):
    found = load("step").main(
        ["--short", "--shapes", "iwae", "--only", "floor", "ours", "eager", "Pyro", "Pythae"]
    )
    rows, missing = found["iwae"]
    assert {"ours, eager", "ours, compiled", "ours, stock SVI", "Pyro SVI, Trace_ELBO"} < set(
        rows
    ) and times(rows)
    assert set(missing) == {"NumPyro, jit(update)", "NumPyro, scan", "Pythae"}
    out = capsys.readouterr().out
    assert "Pythae: not installed (pythae)" in out and "NumPyro, scan: not installed" in out
    assert "784-200-200-50" in out and "torch" in out


def test_step_of_the_other_bounds_and_networks(load, alone):
    found = load("step").main(
        ["--short", "--shapes", "iwae-5", "conv", "--only", "floor", "eager", "Pyro SVI"]
    )
    assert (
        "Pyro SVI, RenyiELBO" in found["iwae-5"][0]
        and "Pyro SVI, JitTrace_ELBO" in found["conv"][0]
    )


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_epoch(load, alone):
    if not (Path(os.environ.get("PYRO_VAE_DATA", "")) / "MNIST").is_dir():
        pytest.skip("PYRO_VAE_DATA names no folder with MNIST")
    found = load("epoch").main(
        ["--short", "--rows", "300", "--only", "eager", "plain", "example", "Pythae"]
    )
    rows, missing = found["Pyro's sizes"]
    assert set(rows) == {"ours, eager", "plain PyTorch", "Pyro's example"} and not missing
    assert set(found["Pythae's sizes"][1]) == {"Pythae"}


@pytest.fixture
def here(monkeypatch):
    """Turns that are processes of their own take place in this one."""

    def put(module):
        monkeypatch.setattr(module, "worker", lambda script, **options: module.measure(**options))
        return module

    return put


def test_evidence(load, alone, here, capsys):
    tables = ["L_50", "AIS", "Latents", "memory"]
    found = here(load("evidence")).main(["--short", "--tables", *tables])
    (rows, missing), (chained, _), (latents, _), (memory, _) = found.values()
    assert set(missing) == {"Pythae, get_nll"} and "ours" in rows and "floor: torch.mm" in rows
    assert "ours, compiled" in chained and len(latents) == len(memory) == 2
    assert times(rows | chained | latents | memory)
    assert "share of the floor" in capsys.readouterr().out


def test_evidence_in_a_process_of_its_own(load):
    options = {"what": "mm", "images": 2, "draws": 100, "steps": 1, "device": "cpu"}
    timing = load("timing")
    assert timing.worker(str(BENCHMARKS / "evidence.py"), **options)["seconds"] > 0
    with pytest.raises(RuntimeError, match=r"evidence\.py with .* failed"):
        timing.worker(str(BENCHMARKS / "evidence.py"), what="mm")


def test_scaling(load, here, tmp_path):
    figure = tmp_path / "scaling.png"
    options = ["--short", "--eager", "--kept", str(tmp_path / "cost.json")]
    scaling = here(load("scaling"))
    scaling.main([*options, "--only", "rows", "latent"])
    found = scaling.main([*options, "--cpu", "--only", "k", "batch", "--figure", str(figure)])
    assert list(found) == ["rows", "latent", "k", "batch"] and set(found["k"]) == {"1", "5"}
    assert figure.stat().st_size > 5000


def test_busy(load, monkeypatch, capsys):
    busy = load("busy")
    said = "import os; assert os.environ.get('OMP_NUM_THREADS', '1') == '1'"
    monkeypatch.setattr(busy, "COMMAND", [sys.executable, "-c", said])
    found = busy.main(["--short", "--busy", "0", "1", "--only", "one", "chooses"])
    assert set(found) == {0, 1} and all(len(rows) == 2 and times(rows) for rows in found.values())
    assert "beside 1 busy" in capsys.readouterr().out


def test_startup(load, monkeypatch):
    startup = load("startup")
    monkeypatch.setattr(startup, "STATEMENTS", ("pass", "import decimal", "import no_such_package"))
    monkeypatch.setattr(startup, "OURS", "import decimal")
    rows, missing = startup.main(["--short"])
    assert set(rows) == {"pass", "import decimal"} and times(rows)
    assert missing == {"import no_such_package": "not installed (no_such_package)"}


def test_only_that_names_nobody_says_so(load, capsys):
    assert load("timing").chosen({"ours": None, "floor": None}, ["theirs"]) == {}
    assert "theirs is in none of ours, floor" in capsys.readouterr().out
