"""The way back from an error: a transition that fails leaves nothing behind, and the node can be configured again."""

import pytest
import rclpy
from mock_models import make_model
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from sage_fusion_ros.nodes import pair_server
from sage_fusion_ros.nodes.fusion_node import FusionNode

SUCCESS = TransitionCallbackReturn.SUCCESS


@pytest.fixture
def node(tmp_path):
    make_model(tmp_path / "sage_fast")
    context = rclpy.Context()
    rclpy.init(context=context)
    overrides = {"autostart": False, "models.path": [str(tmp_path)], "engine.device": "cpu", "perception.model": ""}
    node = FusionNode(context=context, parameter_overrides=[Parameter(k, value=v) for k, v in overrides.items()])
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def state(node):
    return node._state_machine.current_state[1]


def images_read_by(node):
    return [name for name, _ in node.get_topic_names_and_types() if name.endswith("/input/rgb")]


@pytest.mark.parametrize("broken", ["CameraInputs", "FusionWorker"])
def test_an_exception_in_activate_is_told_and_leads_back_to_unconfigured(node, monkeypatch, capfd, broken):
    def fail(*_, **__):
        raise RuntimeError("no threads left")

    assert node.trigger_configure() == SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(pair_server, broken, fail)
        assert node.trigger_activate() != SUCCESS
    assert state(node) == "unconfigured"
    assert not images_read_by(node)
    assert "on_activate failed: RuntimeError('no threads left')" in capfd.readouterr().err
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    assert state(node) == "active"
    assert images_read_by(node)


def test_shutdown_from_active_frees_everything(node):
    node.trigger_configure()
    node.trigger_activate()
    assert node.trigger_shutdown() == SUCCESS
    assert state(node) == "finalized"
    assert not images_read_by(node)
