"""A pair saved in one process is the same pair in another that never saw the building code."""

import json
import os
import pickle
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.weights.weights import weigh
from tests.contract.test_families import CASES as FAMILY_CASES
from tests.contract.test_pairs import CASES as PAIR_CASES

LOADS = """
import json, sys
from pathlib import Path
import torch
import pyro_vae as pv
from pyro_vae.weights.weights import weigh

assert not any(name.startswith("tests") for name in sys.modules)
for folder in sorted(Path(sys.argv[1]).iterdir()):
    given = torch.load(folder / "data.pt")
    pair = pv.load(folder)
    torch.manual_seed(0)
    if "a" in given:
        found = pair(*given["b"]).log_prob(given["a"])
    else:
        found = weigh(pair, given["data"], 3).log_weight
    torch.save(found, folder / "found.pt")
"""
# what the tests build themselves is not to be found by a process that has no tests
NOT_OURS = ("the user's",)
PACKAGE = __name__.partition(".")[0]
BUILT_HERE = ("top-down, shared",)


def small(given_shapes, out_shape):
    """A network of the user's, built by a function that can be imported."""
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, out_shape[0]))


def make(net=pv.networks.mlp):
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(3, given=2, net=partial(pv.networks.mlp, hidden=(5,))),
        variational=pv.Normal(2, given=3, net=net),
    )


def weigh_again(pair, data):
    torch.manual_seed(0)
    with torch.no_grad(), OwnParameters():
        return weigh(pair, data, 3).log_weight


def test_all_families_and_pairs_in_another_process(tmp_path):
    expected = {}
    families = [c for c in FAMILY_CASES if not c.name.startswith(NOT_OURS)]
    for i, case in enumerate(families):
        folder, conditional = tmp_path / f"family {i:03d}", case.make()
        given = case.inputs((6,), (6,))
        with torch.no_grad():
            a = conditional(*given).sample()
            expected[folder] = conditional.eval()(*given).log_prob(a)
        pv.save(conditional, folder)
        torch.save({"a": a, "b": given}, folder / "data.pt")
    for name, case in PAIR_CASES.items():
        if name in BUILT_HERE:
            continue
        folder, pair, data = tmp_path / f"pair {name}", case.make().eval(), case.data()
        expected[folder] = weigh_again(pair, data)
        pv.save(pair, folder)
        torch.save({"data": data}, folder / "data.pt")

    script = f"import torch; torch.set_grad_enabled(False)\n{LOADS}"
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=_leave_tests())
    assert done.returncode == 0, done.stderr
    for folder, value in expected.items():
        found = torch.load(folder / "found.pt")
        assert torch.equal(found, value), folder.name
    assert len(expected) > 100


def _leave_tests():
    """The environment, from which the folder of the tests is not imported."""
    root = os.path.dirname(os.path.dirname(pv.__file__))
    return os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": str(torch.get_num_threads())}


def test_a_network_of_ones_own_is_kept_by_name(tmp_path):
    vae, data = make(net=small), (torch.zeros(4, 3),)
    pv.save(vae.eval(), tmp_path)
    with pytest.raises(ValueError, match=rf"test_folder:small.*trusted=\['{PACKAGE}'\]"):
        pv.load(tmp_path)
    loaded = pv.load(tmp_path, trusted=[PACKAGE])
    assert torch.equal(weigh_again(loaded, data), weigh_again(vae, data))


@pv.recorded
def build_encoder(size):
    return nn.Sequential(nn.Linear(4, size), nn.Tanh())


def test_a_module_of_ones_own_is_kept_by_the_function_that_built_it(tmp_path):
    case = PAIR_CASES["top-down, shared"]
    with pytest.raises(ValueError, match=r"pair.encoder: a Sequential .*@pv.recorded"):
        pv.save(case.make(), tmp_path)
    assert not list(tmp_path.iterdir())

    encoder = build_encoder(5)
    vae = pv.HierarchicalVAE(
        priors=[pv.StandardNormal(2), pv.Normal(3, given=2)],
        likelihood=pv.Bernoulli(4, given=3),
        variationals=[pv.Normal(2, given=5), pv.Normal(3, given=[5, 2])],
        order="top_down",
        encoder=encoder,
    )
    pv.save(vae, tmp_path)
    assert torch.equal(pv.load(tmp_path, trusted=PACKAGE).encoder[0].weight, encoder[0].weight)


def test_types_what_is_frozen_and_the_random_state_are_kept(tmp_path):
    vae = make().double()
    vae.likelihood.requires_grad_(False)
    pv.save(vae, tmp_path)
    before = torch.get_rng_state()
    loaded = pv.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert {p.dtype for p in loaded.parameters()} == {torch.float64}
    kept = {name: p.requires_grad for name, p in loaded.named_parameters()}
    assert kept == {name: p.requires_grad for name, p in vae.named_parameters()}
    assert not loaded.training


def test_parts_that_are_shared_stay_shared(tmp_path):
    q = pv.Normal(2, given=3)
    vae = pv.VAE(
        prior=pv.Vamp(q, torch.rand(4, 3)), likelihood=pv.Bernoulli(3, given=2), variational=q
    )
    pv.save(vae, tmp_path)
    loaded = pv.load(tmp_path)
    assert loaded.prior.variational is loaded.variational


def test_a_loaded_pair_is_saved_again_and_pickled(tmp_path):
    vae = make()
    pv.save(vae, tmp_path / "a")
    pv.save(pv.load(tmp_path / "a"), tmp_path / "b")
    first, second = ((tmp_path / name / "config.json").read_text() for name in "ab")
    assert first == second
    pv.save(pickle.loads(pickle.dumps(vae)), tmp_path / "c")
    assert (tmp_path / "c" / "config.json").read_text() == first


@pytest.mark.parametrize(
    ("vae", "words"),
    [
        (lambda: make(net=lambda given, out: nn.Linear(3, out[0])), "pair.variational.net: .*lamb"),
        (lambda: make(net=nn.Linear(3, 4)), "pair.variational.net: a Linear does not say"),
        (lambda: pv.Pair(lambda x: x, lambda x: x), "pair: a Pair does not say"),
        (lambda: nn.Linear(2, 2), "pair: a Linear does not say"),
    ],
    ids=["lambda", "module", "Pair", "no pair"],
)
def test_what_cannot_be_made_again_is_refused(vae, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        pv.save(vae(), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_pair_that_was_changed_by_hand_is_refused(tmp_path):
    vae = make()
    vae.likelihood = pv.Bernoulli(3, given=2)
    with pytest.raises(ValueError, match="what it was made with is of another pair"):
        pv.save(vae, tmp_path / "folder")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Norml", "'Norml' is no part of this library"),
        ("subprocess:Popen", "'subprocess:Popen' is no part"),
        ("os:system", "'os:system' is no part"),
        ("save_weights", "'save_weights' is no part"),
        ("pyro_vae.training.checkpoints:save_weights", "is no part"),
        ("builtins:eval", "is no part"),
        (7, "expected the name of a part"),
    ],
)
@pytest.mark.parametrize("place", ["call", "name"])
def test_other_names_are_refused(name, words, place, tmp_path):
    pv.save(make(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    options = config["pair"]["options"]
    if place == "call":
        options["variational"]["call"] = name
    else:
        options["variational"]["options"]["net"] = {"name": name}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=words):
        pv.load(tmp_path)


def _put(**entries):
    return lambda config: config | entries


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_put(format=2, pyro_vae="9.9"), r"written by pyro_vae 9\.9.*later"),
        (_put(format="one"), "no number of its format"),
        (_put(weights="../weights.safetensors"), "expected a file beside it"),
        (_put(weights="none.safetensors"), "there is no file"),
        (_put(pair=[]), "pair is .*, expected a dict"),
        (_put(pair={"same": 3}), "stands for nothing"),
        (_put(pair={"tensor": "argument.9"}), "stands for nothing"),
        (_put(pair={"walk": 3}), "expected one of tuple"),
        (_put(pair={"call": "Normal", "walk": 3}), "expected a call"),
        (_put(pair={"call": "Normal"}), "Normal cannot be made"),
        (_put(pair={"call": "Normal", "args": [3]}), "is of another pair"),
        (_put(pair={"name": "Normal"}), "expected a pair"),
        (lambda config: [config], "no number of its format"),
    ],
    ids=range(13),
)
def test_another_config_is_refused(change, words, tmp_path):
    pv.save(make(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(change(config)))
    with pytest.raises(ValueError, match=words):
        pv.load(tmp_path)


def test_a_truncated_or_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no .*config\.json"):
        pv.load(tmp_path)
    pv.save(make(), tmp_path)
    weights = next(tmp_path.glob("*.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-8])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        pv.load(tmp_path)
    weights.unlink()
    with pytest.raises(ValueError, match="there is no file"):
        pv.load(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text[:-20])
    with pytest.raises(ValueError, match=r"config\.json is truncated"):
        pv.load(tmp_path)


def test_saving_again_replaces_the_pair_and_leaves_no_other_file(tmp_path):
    pv.save(make(), tmp_path)
    vae = make()
    pv.save(vae, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    data = (torch.zeros(4, 3),)
    assert torch.equal(weigh_again(pv.load(tmp_path), data), weigh_again(vae.eval(), data))


@pytest.mark.parametrize("folder", [3, None])
def test_no_folder(folder):
    with pytest.raises(TypeError, match="folder: expected the path of a folder"):
        pv.load(folder)
    with pytest.raises(TypeError, match="folder: expected the path of a folder"):
        pv.save(make(), folder)
