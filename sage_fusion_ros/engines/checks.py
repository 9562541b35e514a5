"""What every engine holds a network to before it is trusted: its card, and the warm-up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sage_fusion_ros.engines.base import Engine, Port
from sage_fusion_ros.engines.card import ModelCard
from sage_fusion_ros.errors import ModelError, SageFusionError


def output_order(
    path: Path, card: ModelCard | None, inputs: tuple[Port, ...], outputs: tuple[Port, ...]
) -> tuple[str, ...]:
    """Names of the outputs in the order in which an engine gives them: the card's, or the file's without a card.

    Args:
        path: The network's file, for the error.
        card: Its card, where it has one.
        inputs: What the file takes.
        outputs: What it gives.

    Raises:
        ModelError: The file does not take and give exactly the tensors that the card names.
    """
    if card is None:
        return tuple(port.name for port in outputs)
    for side, declared, actual in (("takes", card.inputs, inputs), ("gives", card.outputs, outputs)):
        found = {port.name: port.dtype for port in actual}
        expected = {tensor.name: tensor.dtype for tensor in declared}
        if found != expected:
            raise ModelError(f"model file {path} {side} {found}; its card says {expected}")
    return tuple(tensor.name for tensor in card.outputs)


def run_warm_up(engine: Engine, path: Path, warm_up: Callable[[Engine], None]) -> None:
    """Warms an engine.

    Args:
        engine: The engine, which must be able to run.
        path: The network's file, for the error.
        warm_up: As load_engine's.

    Raises:
        ModelError: The library fails. What the warm-up itself raises passes as it is.
    """
    try:
        warm_up(engine)
    except SageFusionError:
        raise
    except Exception as error:  # the inference libraries' errors have no common public base
        takes = ", ".join(map(str, engine.inputs))
        raise ModelError(f"model file {path}, which takes {takes}, failed in the warm-up: {error}") from error
