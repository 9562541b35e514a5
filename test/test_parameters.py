"""The parameter table is the only source: declaration, checks, file, schema and README agree with it."""

import json

import pytest
import rclpy
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.nodes import parameter_docs
from sage_fusion_ros.nodes.parameter_table import ParameterTable, Spec
from sage_fusion_ros.nodes.parameters import FUSION_PARAMETERS
from sage_fusion_ros.nodes.settings import network_options, pairing_settings, thermal_settings
from sage_fusion_ros.pipeline.pairing import PairingSettings
from sage_fusion_ros.pipeline.thermal import ThermalSettings

DEFAULTS = {spec.name: spec.default for spec in FUSION_PARAMETERS}

TABLE = ParameterTable(
    Spec("speed.max_hz", 5.0, "How fast.", "Hz", 0.0, 10.0, live=True),
    Spec("name", "left", "Which.", choices=("left", "right")),
    Spec("count", 3, "How many.", low=1, high=9),
    Spec("paths", [""], "Where."),
    Spec("on", True, "Whether."),
)


@pytest.fixture
def declare():
    context = rclpy.Context()
    rclpy.init(context=context)
    nodes = []

    def declare(**overrides):
        node = Node(
            f"table_{len(nodes)}",
            context=context,
            automatically_declare_parameters_from_overrides=True,
            parameter_overrides=[Parameter(name.replace("__", "."), value=value) for name, value in overrides.items()],
        )
        nodes.append(node)
        return node, TABLE.declare(node)

    yield declare
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_declares_defaults_with_ranges_and_units(declare):
    node, values = declare()
    assert values == {"speed.max_hz": 5.0, "name": "left", "count": 3, "paths": [""], "on": True}
    descriptor = node.describe_parameter("speed.max_hz")
    assert descriptor.description == "How fast. [Hz]"
    assert descriptor.floating_point_range[0].to_value == 10.0
    assert node.describe_parameter("name").additional_constraints == "left | right"
    assert node.get_parameter("count").value == 3


def test_takes_given_values_in_their_own_types(declare):
    node, values = declare(speed__max_hz=7, paths=["a", "b"], on=False)
    assert values["speed.max_hz"] == 7.0
    assert isinstance(node.get_parameter("speed.max_hz").value, float)
    assert values["paths"] == ["a", "b"]
    assert node.get_parameter("on").value is False


def test_every_wrong_value_is_named_with_what_is_allowed(declare):
    with pytest.raises(ParameterError) as caught:
        declare(speed__max_hz=11.0, name="up", count="3", on=1, pathss=["a"])
    text = str(caught.value)
    assert "speed.max_hz is 11.0; expected 0 to 10 Hz" in text
    assert "name is 'up'; expected left | right" in text
    assert "count is '3'; expected int" in text
    assert "on is 1; expected bool" in text
    assert "pathss is unknown (did you mean paths?)" in text


def test_ros_own_parameters_pass(declare):
    declare(use_sim_time=True, **{"qos_overrides./x.publisher.depth": 3})


def test_what_is_set_is_refused_by_name_and_a_whole_number_does_for_a_float():
    given = [
        Parameter("rate.max_hz", value=5),
        Parameter("detection.classes", value=["car"]),
        Parameter("use_sim_time", value=True),
    ]
    taken = FUSION_PARAMETERS.accepted(given, lambda name: name == "use_sim_time")
    assert [(p.name, p.type_, p.value) for p in taken] == [
        ("rate.max_hz", Parameter.Type.DOUBLE, 5.0),
        ("detection.classes", Parameter.Type.STRING_ARRAY, ["car"]),
        ("use_sim_time", Parameter.Type.BOOL, True),
    ]
    wrong = [Parameter("rate.max_hz", value="fast"), Parameter("rate.max", value=1.0), Parameter("fusion.model")]
    with pytest.raises(ParameterError) as error:
        FUSION_PARAMETERS.accepted(wrong, lambda name: False)
    for text in ("rate.max_hz is 'fast'; expected float", "rate.max is unknown", "fusion.model is None"):
        assert text in str(error.value)


def test_defaults_mean_the_pipelines_defaults():
    assert pairing_settings(DEFAULTS) == PairingSettings()
    assert thermal_settings(DEFAULTS) == ThermalSettings()


@pytest.mark.parametrize(("workers", "given", "taken"), [(1, 0, 0), (2, 0, 4), (3, 0, 2), (16, 0, 1), (3, 5, 5)])
def test_workers_share_the_cores_where_no_number_of_threads_is_given(monkeypatch, workers, given, taken):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    options = network_options({**DEFAULTS, "rate.workers": workers, "engine.threads": given})
    assert (options.workers, options.threads) == (workers, taken)


def test_parameter_file_holds_the_defaults(project):
    text = (project / parameter_docs.YAML_FILE).read_text(encoding="utf-8")
    assert text == parameter_docs.parameter_yaml(FUSION_PARAMETERS), (
        "run python -m sage_fusion_ros.nodes.parameter_docs"
    )

    def flatten(tree, prefix=""):
        for key, value in tree.items():
            if isinstance(value, dict):
                yield from flatten(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    assert dict(flatten(yaml.safe_load(text)["/**"]["ros__parameters"])) == DEFAULTS


def test_schema_and_readme_follow_the_tables(project):
    schema = (project / parameter_docs.SCHEMA_FILE).read_text(encoding="utf-8")
    assert schema == parameter_docs.parameter_schema(FUSION_PARAMETERS)
    entry = json.loads(schema)["properties"]["/**"]["properties"]["ros__parameters"]["properties"]["pairing"]
    assert entry["properties"]["max_dt_ms"]["maximum"] == 1000
    readme = (project / parameter_docs.README_FILE).read_text(encoding="utf-8")
    assert parameter_docs.with_tables(readme) == readme
    assert all(f"`{name}`" in readme for name in (*DEFAULTS, "thermal.offset_ms"))
