"""Pairs on the Hugging Face hub, each with the measured picture on its card."""

from pathlib import Path
from typing import Any

from torch import nn

from pyro_vae.sharing.folder import CONFIG, load, save

try:
    from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, snapshot_download
except ImportError as error:
    raise ImportError("the hub needs huggingface-hub: pip install 'pyro_vae[hub]'") from error

CARD = """---
{data}
---

# {name}

A variational autoencoder in [Pyro](https://pyro.ai), made with `pyro_vae`.

```
{pair}
```

## The Bayesian picture

{picture}

## Use

```python
from pyro_vae.sharing.hub import Hub

pair = Hub.from_pretrained("{name}").pair
```

Nothing in these files can run code. A network that is not of `pyro_vae` is loaded only where its
package is named, `Hub.from_pretrained(..., trusted=["package"])`.
"""
NOT_MEASURED = "Nobody has measured it, or the one who pushed it left it out."


class Hub(ModelHubMixin):
    """A pair that can be pushed to the hub and pulled from it.

    It has the methods of `huggingface_hub.ModelHubMixin`: `push_to_hub`, `from_pretrained`, and
    `save_pretrained` for a folder. The files are those of `pv.save`, and a card.

    Arguments:
        module: The pair.
        picture: What was measured, `pv.diagnostics.picture(pair, x)` for one. Its text is put on
            the card.

    Attributes:
        pair: The pair.

    Raises:
        ValueError: on pushing, as `pv.save`; on pulling, as `pv.load`.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> _ = Hub(vae).save_pretrained(folder)
        >>> Hub.from_pretrained(folder).pair
        VAE(
          p(z)   = StandardNormal((2,))
          p(x|z) = Bernoulli((3,) | (2,))
          q(z|x) = Normal((2,) | (3,))
        )
    """

    def __init__(self, module: nn.Module, picture: object = None):
        self.pair = module
        self.picture = picture

    def _save_pretrained(self, save_directory: Path) -> None:
        save(self.pair, save_directory)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:  # type: ignore[override]
        """Push the pair to the hub, see `huggingface_hub.ModelHubMixin`. It returns the address."""
        card = {"name": repo_id} | (options.pop("model_card_kwargs", None) or {})
        return super().push_to_hub(repo_id, model_card_kwargs=card, **options)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "Hub":
        trusted = options.pop("trusted", ())
        return cls(load(_fetch(model_id, options), trusted=trusted))

    def generate_model_card(self, *, name: str = "A folder", **others: Any) -> ModelCard:
        """The card: what the pair is, and what was measured of it."""
        data = ModelCardData(library_name="pyro_vae", tags=["variational-autoencoder", "pyro"])
        measured = f"```\n{self.picture}\n```" if self.picture is not None else NOT_MEASURED
        text = CARD.format(data=data.to_yaml(), name=name, pair=self.pair, picture=measured)
        return ModelCard(text)


def _fetch(name: str, options: dict[str, Any]) -> str:
    """The folder in which the files of a pair lie, which is on this machine after the call."""
    if Path(name).is_dir():
        return name
    known = ("revision", "cache_dir", "force_download", "token", "local_files_only")
    chosen = {key: options[key] for key in known if key in options}
    return snapshot_download(name, allow_patterns=[CONFIG, "*.safetensors"], **chosen)
