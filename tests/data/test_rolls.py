import json

import pytest

from pyro_vae.data import load


def test_chorales_are_unrolled(tmp_path, monkeypatch):
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    chorales = [[[21, 108], []], [[60], [60, 64], [67]]]
    text = json.dumps({"train": chorales, "valid": chorales[:1], "test": chorales[1:]})
    (tmp_path / "jsb-quarter.json").write_text(text)
    d = load("jsb-chorales")

    assert d.train.shape == (2, 3, 88) and d.lengths[0].tolist() == [2, 3]
    assert d.train[0].nonzero().tolist() == [[0, 0], [0, 87]]
    assert d.test[0].nonzero().tolist() == [[0, 39], [1, 39], [1, 43], [2, 46]]


@pytest.mark.parametrize("text", ["{", "{}", '{"train": [[[20]]], "valid": [], "test": []}'])
def test_chorales_that_cannot_be_read(text, tmp_path, monkeypatch):
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    (tmp_path / "jsb-quarter.json").write_text(text)
    with pytest.raises(ValueError, match=r"cannot read .*jsb-quarter.json"):
        load("jsb-chorales")
