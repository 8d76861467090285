import pyro
import pytest
import torch


@pytest.fixture(autouse=True)
def fresh():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
