"""The networks by name: how each is built for training and for export."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.networks.perception import Perception
from sage_fusion_ros.networks.sage import SageStudent
from sage_fusion_ros.networks.sage_fast import SageFast

NETWORKS: dict[str, Callable[[], nn.Module]] = {"sage": SageStudent, "sage_fast": SageFast, "perception": Perception}


def build_network(name: str) -> nn.Module:
    """A new network with random weights.

    Raises:
        ParameterError: No such network.
    """
    if name not in NETWORKS:
        raise ParameterError(f"no network named '{name}'; there are {', '.join(NETWORKS)}")
    return NETWORKS[name]()


def count_parameters(network: nn.Module) -> int:
    """Number of trained values (no buffers)."""
    return sum(parameter.numel() for parameter in network.parameters())
