"""Why a loss cannot be exported: the line at fault, and the way out."""

import traceback
from collections.abc import Iterable
from pathlib import Path

import pyro
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

OURS = Path(__file__).parent.parent
OTHERS = (Path(torch.__file__).parent, Path(pyro.__file__).parent)


class LengthWatch(TorchFunctionMode):
    """Remembers who asks for the length of a tensor.

    A symbolic number of rows cannot answer `len(x)`.

    Attributes:
        asked: The line that asked first, or None.
    """

    asked: traceback.FrameSummary | None = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        is_asking = func is Tensor.__len__ and isinstance(args[0].shape[0], torch.SymInt)
        if is_asking and self.asked is None:
            self.asked = find_users_line(traceback.extract_stack())
        return func(*args, **(kwargs or {}))


def find_users_line(
    stack: Iterable[traceback.FrameSummary],
) -> traceback.FrameSummary | None:
    """The innermost line of a stack that is the user's, or else one of a model of ours."""
    users, ours = None, None
    for frame in stack:
        path = Path(frame.filename)
        if not path.is_file() or _is_engine(path):
            continue
        if OURS in path.parents:
            ours = frame
        else:
            users = frame
    return users or ours


def _is_engine(path: Path) -> bool:
    is_compiling = Path(__file__).parent in path.parents
    return is_compiling or any(other in path.parents for other in OTHERS)


def explain(error: Exception, asked: traceback.FrameSummary | None) -> str:
    """What stands in the way of an export, in words.

    Arguments:
        error: What the export raised.
        asked: Who asked for the length of a tensor, see `LengthWatch`.
    """
    frames, reason = _read_chain(error)
    if _has_fixed_rows(error):
        return (
            f"{_quote(asked)} fixes the number of rows, which is symbolic in a compiled loss. Use "
            "x.shape[0], not len(x) or a number, in pyro.plate and in the shapes of tensors; or "
            "use Trace_ELBO, without compile=True."
        )
    return (
        f"{_quote(find_users_line(frames))} cannot be compiled: {type(error).__name__}, {reason}. "
        "A compiled loss has no control flow that depends on the values of tensors (no `if` or "
        "`while` on a tensor, no .item(), no rejection loop): use torch.where; or use Trace_ELBO, "
        "without compile=True."
    )


def _has_fixed_rows(error: Exception) -> bool:
    message = str(error)
    return "Constraints violated" in message or "specialized it to be a constant" in message


def _quote(where: traceback.FrameSummary | None) -> str:
    if where is None:
        return "this pair"
    line = (where.line or "").strip()
    return f"line {where.lineno} of {where.filename}, `{line}`,"


def _read_chain(error: Exception) -> tuple[list[traceback.FrameSummary], str]:
    """The frames of an error and its causes, outermost first, and what the first cause says."""
    frames: list[traceback.FrameSummary] = []
    reason = ""
    cause: BaseException | None = error
    while cause is not None:
        frames = [*traceback.extract_tb(cause.__traceback__), *frames]
        if cause.args:
            reason = str(cause.args[0]).strip().split("\n")[0]
        cause = cause.__cause__ or cause.__context__
    return frames, reason


def explain_missing_compiler(error: Exception) -> str | None:
    """What to install where no C++ compiler was found, or None if that is not the reason."""
    if "InvalidCxxCompiler" not in f"{type(error).__name__} {error}":
        return None
    return (
        "compiling for the CPU needs a C++ compiler, and none was found: install g++ or clang (or "
        "name it in the environment variable CXX), or leave compile=True and CompiledTrace_ELBO "
        "away"
    )
