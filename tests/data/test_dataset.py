import torch

from pyro_vae.data import Dataset, binarise


def test_the_repr_has_the_shapes_and_the_description():
    x = torch.zeros(5, 3)
    d = Dataset(x, x[:2], x[:1], None, "zeros")

    assert repr(d) == "Dataset(train (5, 3), validation (2, 3), test (1, 3): zeros)"
    assert list(d.splits) == ["train", "validation", "test"]


def test_binarise_is_a_fixed_bernoulli_draw():
    grey = torch.full((10_000,), 0.3)
    x = binarise(grey)

    assert torch.equal(x, binarise(grey)) and not torch.equal(x, binarise(grey, seed=1))
    assert set(x.tolist()) == {0.0, 1.0}
    assert abs(x.mean() - 0.3) < 5 * (0.3 * 0.7 / 10_000) ** 0.5
