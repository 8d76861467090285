"""Trees of tensors and plain values, apart and together again."""

import json

import torch

from pyro_vae.training.kept import join, match, split

TREE = {
    "weights": {"a.b": torch.ones(2), "c": torch.zeros(())},
    "lists": [1, [2.5, torch.arange(3)], None],
    "numbers": {0: True, 1: "text"},
    "empty": {},
}


def test_a_tree_survives_a_file():
    notes, tensors = split(TREE)
    back = match(join(json.loads(json.dumps(notes)), tensors), TREE)

    assert list(tensors) == ["weights/a.b", "weights/c", "lists/1/1"]
    assert back.keys() == TREE.keys()
    assert back["numbers"] == TREE["numbers"]
    assert back["empty"] == {}
    assert back["lists"][0] == 1 and back["lists"][2] is None
    torch.testing.assert_close(back["weights"], TREE["weights"], rtol=0, atol=0)
    assert torch.equal(back["lists"][1][1], torch.arange(3))


def test_what_came_back_gets_the_types_of_now():
    assert match([1, 2], (0.0, 0.0)) == (1, 2)
    assert match({"0": [1]}, {0: (5,)}) == {0: (1,)}
    assert match(torch.tensor(0.5), 0.1) == 0.5
    assert match(0.5, torch.tensor(0.1)).equal(torch.tensor(0.5))
    assert match([1, 2, 3], [1]) == [1, 2, 3]
