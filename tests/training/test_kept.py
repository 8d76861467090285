"""Trees of tensors and plain values, apart and together again."""

import json

import pytest
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
    assert match({"a": 1, "more": "text"}, {"a": 0.0}) == {"a": 1, "more": "text"}
    assert match(None, None) is None and match(0.5, None) == 0.5


@pytest.mark.parametrize(
    ("saved", "now", "words"),
    [
        ({"a": {"b": "one"}}, {"a": {"b": 1}}, "b is 'one', expected a number"),
        (None, 1.0, "it is None, expected a number"),
        (torch.zeros(3), 1, r"a tensor of shape \(3,\), expected a number"),
        (torch.zeros(1), torch.zeros(2, 3), r"shape \(1,\), expected a tensor of shape \(2, 3\)"),
        ("1", torch.zeros(()), r"'1', expected a tensor of shape \(\)"),
        ({"b": 1}, {"a": 1}, "expected a tree with a"),
        (3, {"a": 1}, "it is 3, expected a tree"),
        ([1], [1, 2], "expected 2 of them"),
        ([1, 2, 3], (1, 2), "expected 2 of them"),
        ({"0": 1}, [1], "expected 1 of them"),
        (1, "text", "it is 1, expected a text"),
    ],
)
def test_what_came_back_in_another_form(saved, now, words):
    with pytest.raises(TypeError, match=words):
        match(saved, now)
