"""One table a node as the only source of its parameters: declaration, checks, file, schema and documentation."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sage_fusion_ros.errors import ParameterError

if TYPE_CHECKING:  # commands that work without ROS take the same parameters
    from rcl_interfaces.msg import ParameterDescriptor
    from rclpy.node import Node
    from rclpy.parameter import Parameter


@dataclass(frozen=True)
class Spec:
    """One parameter.

    Attributes:
        name: Dotted name.
        default: Default value; its type is the parameter's type (bool, int, float, str or a list of str).
        description: One line for people, with what special values mean.
        unit: Unit of the value, or empty.
        low, high: Least and greatest value of a number, both allowed.
        choices: All allowed values of a text, or empty for any text.
        live: Whether it may change while the node is configured; others change in the unconfigured state only.
    """

    name: str
    default: Any
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False

    @property
    def type_name(self) -> str:
        """The type as people write it."""
        return {bool: "bool", int: "int", float: "float", str: "string", list: "string list"}[type(self.default)]

    @property
    def range_text(self) -> str:
        """The allowed values as people write them, or empty."""
        if self.choices:
            return " | ".join(self.choices)
        return f"{self.low:g} to {self.high:g}" if self.low is not None and self.high is not None else ""

    def coerce(self, value: Any) -> Any:
        """The value in the parameter's own type.

        Raises:
            ParameterError: It is of another type, out of range or not one of the choices.
        """
        if isinstance(self.default, float) and type(value) is int:
            value = float(value)  # `-p rate.max_hz:=10` is meant as 10.0
        if isinstance(self.default, list) and isinstance(value, (list, tuple)):
            value = [str(item) for item in value]
        if type(value) is not type(self.default):
            raise ParameterError(f"parameter {self.name} is {value!r}; expected {self.type_name}")
        outside = self.low is not None and self.high is not None and not self.low <= value <= self.high
        if outside or (self.choices and value not in self.choices):
            raise ParameterError(f"parameter {self.name} is {value!r}; expected {self.range_text} {self.unit}".rstrip())
        return value

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` shows. Ranges are for display: `coerce` checks them, bounds included."""
        from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

        text = f"{self.description} [{self.unit}]" if self.unit else self.description
        descriptor = ParameterDescriptor(description=text, additional_constraints=self.range_text)
        if self.low is not None and self.high is not None:
            if isinstance(self.default, int):
                descriptor.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high), step=0)]
            else:
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=float(self.low), to_value=float(self.high), step=0.0)
                ]
        return descriptor


class ParameterTable:
    """All parameters of a node, in the order in which they are documented."""

    def __init__(self, *specs: Spec) -> None:
        self._specs = {spec.name: spec for spec in specs}

    def __iter__(self) -> Iterator[Spec]:
        return iter(self._specs.values())

    def __getitem__(self, name: str) -> Spec:
        return self._specs[name]

    def declare(self, node: Node) -> dict[str, Any]:
        """Declares every parameter of a node that was made with automatically_declare_parameters_from_overrides.

        That option is what makes a misspelt name in a parameter file visible; ROS itself passes over it in silence.

        Returns:
            The values by name.

        Raises:
            ParameterError: A given parameter is unknown, of the wrong type or out of range; all of them are named.
        """
        given = {name: parameter.value for name, parameter in node.get_parameters_by_prefix("").items()}
        values = self.resolve(given)
        for spec in self:
            if spec.name in given:
                node.undeclare_parameter(spec.name)
            node.declare_parameter(spec.name, values[spec.name], spec.descriptor(), ignore_override=True)
        return values

    def resolve(self, given: dict[str, Any]) -> dict[str, Any]:
        """The values by name: what is given, checked, and the defaults for the rest.

        Raises:
            ParameterError: A given parameter is unknown, of the wrong type or out of range; all of them are named.
        """
        foreign = ("use_sim_time", "start_type_description_service")
        problems = [
            self.unknown_text(name)
            for name in sorted(given.keys() - self._specs.keys())
            if name not in foreign and not name.startswith("qos_overrides.")
        ]
        values = {}
        for spec in self:
            try:
                values[spec.name] = spec.coerce(given.get(spec.name, spec.default))
            except ParameterError as error:
                problems.append(str(error))
        if problems:
            raise ParameterError("; ".join(problems))
        return values

    def accepted(self, parameters: Iterable[Parameter], is_known: Callable[[str], bool]) -> list[Parameter]:
        """Parameters that are to be set, each in its own type: a whole number does for a float.

        Args:
            parameters: As a client asks for them.
            is_known: Whether the node has a parameter that is not in this table, such as use_sim_time.

        Raises:
            ParameterError: One is unknown, of the wrong type or out of range; all of them are named.
        """
        problems, result = [], []
        for parameter in parameters:
            try:
                if parameter.name in self._specs:
                    value = self[parameter.name].coerce(parameter.value)
                    if type(value) is float and type(parameter.value) is int:
                        parameter = type(parameter)(parameter.name, value=value)
                elif not is_known(parameter.name):
                    problems.append(self.unknown_text(parameter.name))
                result.append(parameter)
            except ParameterError as error:
                problems.append(str(error))
        if problems:
            raise ParameterError("; ".join(problems))
        return result

    def unknown_text(self, name: str) -> str:
        """What to say about a name that is in no row, with the nearest one that is."""
        close = difflib.get_close_matches(name, self._specs, n=1)
        return f"parameter {name} is unknown" + (f" (did you mean {close[0]}?)" if close else "")
