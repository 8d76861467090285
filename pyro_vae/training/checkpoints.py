"""Weights, and the state of a run, in safetensors files: whole or not at all, and nothing in them can run code."""

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each object once however many names it has."""
    return {k: v.detach() for k, v in [*module.named_parameters(), *module.named_buffers()]}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of the name."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def keyed(saved, now):
    """What JSON made of a state: its keys are strings, where those of the state now may be numbers."""
    if isinstance(saved, dict) and isinstance(now, dict):
        keys = {str(key): key for key in now}
        return type(now)(
            {keys.get(k, k): keyed(v, now.get(keys.get(k, k))) for k, v in saved.items()}
        )
    if isinstance(saved, list) and isinstance(now, list) and len(saved) == len(now):
        return [keyed(a, b) for a, b in zip(saved, now, strict=True)]
    return saved


def copy_into(own: dict[str, Tensor], other: dict[str, Tensor], source: str) -> None:
    """Copy tensors by name; a ValueError that names the source if they are another pair's."""
    differing = [k for k in own if k not in other or other[k].shape != own[k].shape] + [
        k for k in other if k not in own
    ]
    if differing:
        k = differing[0]
        said = [tuple(t[k].shape) if k in t else "nothing" for t in (own, other)]
        raise ValueError(
            f"{source} is of another pair: {len(differing)} tensors differ, the first is {k}, "
            f"expected {said[0]}, got {said[1]}"
        )
    for k, v in own.items():
        v.copy_(other[k])


def save_tensors(path: Path, tensors: dict[str, Tensor], notes: dict) -> None:
    """Write tensors and JSON notes to one safetensors file, which is either there whole or not at all."""
    half = path.with_name(path.name + ".part")
    whole = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    save_file(whole, half, metadata={"pyro_vae": json.dumps(notes)})
    os.replace(half, path)


def load_tensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict]:
    """Read what `save_tensors` wrote; nothing in such a file can run code.

    Raises:
        ValueError: if the file is missing, truncated, corrupted or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as f:
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
            notes = json.loads((f.metadata() or {}).get("pyro_vae", "{}"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(f"checkpoint: there is no file {path}") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"checkpoint: {path} is not a whole safetensors file ({error}); it is truncated, corrupted or of another "
            "kind (pickles are never opened)"
        ) from error
    return tensors, notes


def save_weights(pair: nn.Module, path: str | os.PathLike) -> None:
    """Write the weights of a pair to a safetensors file.

    Arguments:
        pair: The pair, or a part of it, the encoder alone for one.
        path: The file.
    """
    save_tensors(Path(path), tensors_of(pair), {})


def load_weights(pair: nn.Module, path: str | os.PathLike) -> None:
    """Read the weights of a pair from a file that `save_weights`, or the checkpoint of `fit`, wrote.

    Of a checkpoint with `patience` the best weights are read, otherwise the last.

    Raises:
        ValueError: if the file is missing, truncated, or of another pair; it says where they
            differ.
    """
    tensors, _ = load_tensors(path)
    inner = under("best/", tensors) or under("weights/", tensors)
    if inner:
        found = [
            {k.removeprefix(p): v for k, v in inner.items() if k.startswith(p)}
            for p in ("pair.", "objective.pair.")
        ]
        tensors = next((f for f in found if f), inner)
    copy_into(tensors_of(pair), tensors, str(path))
