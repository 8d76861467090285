"""Importing the library changes nothing else in the process."""

import subprocess
import sys

import pytest

SCRIPT = """
import random, sys
import numpy, torch

if {pyro_first}:
    import pyro
    pyro.param("theirs", torch.zeros(2))
torch.distributions.Distribution.set_default_validate_args({validate})
torch.set_default_dtype(torch.float64)
torch.manual_seed(7)


def list_parameters():
    if "pyro" not in sys.modules:
        return []
    return sorted(sys.modules["pyro"].get_param_store().keys())


def state():
    return {{
        "validation": torch.distributions.Distribution._validate_args,
        "dtype": torch.get_default_dtype(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(numpy.random.get_state()),
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "store": list_parameters(),
    }}


before = state()
import pyro_vae
after = state()

assert before["store"] == (["theirs"] if {pyro_first} else [])
changed = [key for key in before if before[key] != after[key]]
assert not changed, f"importing pyro_vae changed {{changed}}"
"""


@pytest.mark.parametrize(
    "pyro_first", [False, True], ids=["pyro not yet imported", "pyro imported before"]
)
@pytest.mark.parametrize("validate", [False, True], ids=["validation off", "validation on"])
def test_importing_changes_nothing(validate, pyro_first):
    script = SCRIPT.format(validate=validate, pyro_first=pyro_first)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
