"""Pairs go to a folder that stands for the hub and come back, through the hub's own code."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import pyro_vae as pv

huggingface_hub = pytest.importorskip("huggingface_hub")

from huggingface_hub import HfApi, hub_mixin  # noqa: E402

from pyro_vae.sharing import hub  # noqa: E402


def make():
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(3, given=2),
        variational=pv.Normal(2, given=3),
    )


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A folder in place of the hub: what is uploaded lies there, and downloads come from it."""

    def create_repo(self, repo_id, **others):
        (tmp_path / repo_id).mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, *, repo_id, folder_path, **others):
        shutil.copytree(folder_path, tmp_path / repo_id, dirs_exist_ok=True)
        return f"https://example.org/{repo_id}"

    def download(repo_id, filename=None, **others):
        return str(tmp_path / repo_id / (filename or ""))

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(hub_mixin, "hf_hub_download", download)
    monkeypatch.setattr(hub, "snapshot_download", download)
    return tmp_path


def test_pushed_and_pulled_it_is_the_same_pair(remote):
    vae, x = make(), torch.bernoulli(torch.full((20, 3), 0.5))
    picture = pv.diagnostics.picture(vae, x, num_samples=50, progress=False)
    address = hub.Hub(vae, picture).push_to_hub("me/toy")
    assert address == "https://example.org/me/toy"

    pulled = hub.Hub.from_pretrained("me/toy").pair
    assert repr(pulled) == repr(vae)
    for name, value in vae.state_dict().items():
        assert torch.equal(pulled.state_dict()[name], value), name
    card = (remote / "me" / "toy" / "README.md").read_text()
    assert str(picture) in card and repr(vae) in card
    assert 'Hub.from_pretrained("me/toy")' in card
    assert huggingface_hub.ModelCard(card).data.library_name == "pyro_vae"


def test_a_card_says_that_nothing_was_measured(tmp_path):
    hub.Hub(make()).save_pretrained(tmp_path)
    assert hub.NOT_MEASURED in (tmp_path / "README.md").read_text()
    assert {path.suffix for path in Path(tmp_path).iterdir()} == {".md", ".json", ".safetensors"}


def test_a_config_of_others_is_refused(remote):
    hub.Hub(make()).push_to_hub("me/toy")
    config = remote / "me" / "toy" / "config.json"
    config.write_text(config.read_text().replace('"StandardNormal"', '"os:system"'))
    with pytest.raises(ValueError, match="'os:system' is no part of this library"):
        hub.Hub.from_pretrained("me/toy")
