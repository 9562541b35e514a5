"""fusion_node: a lifecycle node that pairs thermal and RGB images and publishes the fused image, mask and boxes."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from sage_fusion_ros.errors import ParameterError, SageFusionError
from sage_fusion_ros.nodes import diagnostics
from sage_fusion_ros.nodes.autoware_outputs import AutowareMaps, read_maps
from sage_fusion_ros.nodes.messages import missing_text, optional_messages
from sage_fusion_ros.nodes.models import ModelLoader, Models, differs
from sage_fusion_ros.nodes.outputs import Classes
from sage_fusion_ros.nodes.pair_server import PairServer
from sage_fusion_ros.nodes.parameters import FUSION_PARAMETERS
from sage_fusion_ros.nodes.process import run_node
from sage_fusion_ros.nodes.qos import OVERRIDES, check_overrides, profile, unused_overrides
from sage_fusion_ros.nodes.registration import PERIOD_S
from sage_fusion_ros.nodes.settings import check_together, pair_names
from sage_fusion_ros.nodes.transitions import answer_refused_transitions, told

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class FusionNode(LifecycleNode):
    """Configure loads, checks and warms the models; activate subscribes; deactivate and cleanup undo the two.

    Services run in a reentrant group on an executor with several threads, so that a long model load or engine build in
    one of them never blocks the others, the timers or the images.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._services_group = ReentrantCallbackGroup()
        self._timer_group = MutuallyExclusiveCallbackGroup()
        self._loader = ModelLoader(lambda text: self.get_logger().info(text))
        self._models: Models | None = None
        self._change_lock = threading.Lock()  # what serves changes as a whole
        self._servers: list[PairServer] = []  # one for each pair of cameras; none while unconfigured
        self._maps: AutowareMaps | None = None
        self._problem = ""
        super().__init__("fusion_node", automatically_declare_parameters_from_overrides=True, **kwargs)
        answer_refused_transitions(self)
        self._values = FUSION_PARAMETERS.declare(self)
        check_together(self._values)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        # Diagnostics go on in every state and under a paused simulated clock.
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", profile("reliable", 10))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(
            self._values["diagnostics.period_s"], self._publish_diagnostics, self._timer_group, clock=steady
        )
        self.create_timer(PERIOD_S, self._refresh_registration, MutuallyExclusiveCallbackGroup(), clock=steady)
        if self._values["autostart"]:
            self._autostart_timer = self.create_timer(
                0.0, self._autostart, MutuallyExclusiveCallbackGroup(), clock=steady
            )

    @property
    def default_callback_group(self) -> ReentrantCallbackGroup:
        """The group of all services, which rclpy creates without naming one."""
        return self._services_group

    def set_parameters_atomically(self, parameter_list: list[Any]) -> SetParametersResult:
        """Names the parameters in its refusal, which rclpy's own does not."""
        try:
            parameter_list = FUSION_PARAMETERS.accepted(parameter_list, self.has_parameter)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return super().set_parameters_atomically(parameter_list)

    @told
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads, checks and warms the models and creates the publishers."""
        try:
            with self._loader.alone():  # models that change meanwhile would not be those that serve
                self._configure()
        except SageFusionError as error:
            self._release()
            self._problem = str(error)
            self.get_logger().error(f"configure failed: {error}")
            return FAILURE
        self._problem = ""
        return SUCCESS

    def _configure(self) -> None:
        values = self._values
        check_overrides(self)
        messages = optional_messages()
        if missing := missing_text(messages):
            self.get_logger().info(missing, once=True)
        self._maps = read_maps(messages, values["output.autoware_labels"], values["output.autoware_mask"])
        servers = [PairServer(self, name, values) for name in pair_names(values)]
        models = self._loader.load(values, self._camera_size(), self._check_classes)
        with self._change_lock:
            self._servers, self._models = servers, models  # so that a failure from here on frees them
            values = self._values  # the live ones may have changed while the models were loaded
            for server in servers:
                server.advertise(messages, self._maps, values)
                server.serve(models, values)

    @told
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts the workers and subscribes."""
        with self._change_lock:  # a change of models that comes now finds the workers, or has given them their pipeline
            for server in self._servers:
                server.start(self._values)
        topics = [topic for server in self._servers for topic in server.topics()]
        for name in unused_overrides(self, topics):
            self.get_logger().warning(f"parameter {name} is for no topic of this node, whose topics are full names")
        return SUCCESS

    @told
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends the subscriptions and the workers; the models stay loaded."""
        for server in self._servers:
            server.stop()
        return SUCCESS

    @told
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the models and the publishers."""
        self._release()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything, from any state."""
        self._release()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The way back: frees everything and returns to unconfigured, from where configure may be tried again."""
        self.get_logger().error(f"a transition from '{state.label}' failed; back to unconfigured")
        self._release()
        return SUCCESS

    def destroy_node(self) -> None:
        """Stops the threads before ROS takes their publishers away."""
        self._release()
        super().destroy_node()

    def _autostart(self) -> None:
        self._autostart_timer.cancel()
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()
        else:
            self.get_logger().error("autostart: not configured; correct the cause, then configure and activate")

    def _check_classes(self, classes: Classes) -> None:
        if self._maps is not None:
            self._maps.check(classes.mask, classes.detections)

    def _camera_size(self) -> tuple[int, int]:
        """Height and width to warm up with: the largest of the pairs that were fused last."""
        return max((server.size for server in self._servers if server.size is not None), default=(480, 640))

    def _release(self) -> None:
        for server in self._servers:
            server.stop()  # outside the lock: a worker may have a pair in work
        with self._change_lock:
            for server in self._servers:
                server.close()
            self._servers = []
            if self._models is not None:
                self._models.close()
                self._models = None

    def _refresh_registration(self) -> None:
        with self._change_lock:
            for server in self._servers:
                server.refresh_registration()

    def _on_set_parameters(self, parameters: list[Any]) -> SetParametersResult:
        """Checks a change, then makes it real; a change refused leaves everything as it was."""
        try:
            if made := [p.name for p in parameters if p.name.startswith(OVERRIDES)]:
                raise ParameterError(f"{', '.join(made)} is read at the start of the node alone")
            changed = {p.name: FUSION_PARAMETERS[p.name].coerce(p.value) for p in parameters if p.name in self._values}
            new = {**self._values, **changed}
            check_together(new)
            fixed = [name for name in changed if not FUSION_PARAMETERS[name].live and new[name] != self._values[name]]
            if fixed or differs(self._values, new):
                with self._loader.alone():
                    self._load_anew(changed, fixed)
            else:
                self._take_over(changed)
        except SageFusionError as error:
            self.get_logger().warning(f"parameter change refused: {error}")
            return SetParametersResult(successful=False, reason=str(error))
        except Exception as error:  # raised, it would leave the caller without an answer
            self.get_logger().error(f"parameter change failed: {error!r}\n{traceback.format_exc()}")
            return SetParametersResult(successful=False, reason=f"it failed: {error!r}")
        return SetParametersResult(successful=True)

    def _load_anew(self, changed: dict[str, Any], fixed: list[str]) -> None:
        """Loads what differs beside the models that serve, then makes the change real; `alone` is held."""
        serving, old = self._models, self._values
        if fixed and serving is not None:
            raise ParameterError(f"{', '.join(fixed)} can change only while the node is unconfigured: clean it up")
        if serving is None:  # they are only names until the node is configured
            self._take_over(changed)
            return
        models = self._loader.load({**old, **changed}, self._camera_size(), self._check_classes, serving, old)
        self._take_over(changed, models)

    def _take_over(self, changed: dict[str, Any], models: Models | None = None) -> None:
        """Makes a change real, on top of what may have changed while models were loaded.

        Args:
            changed: The parameters that change.
            models: Those that serve from now on; None: those that do.

        Raises:
            ParameterError: The change contradicts another one.
        """
        with self._change_lock:
            new = {**self._values, **changed}
            check_together(new)
            self._values = new
            if self._models is None:
                if models is not None:  # the node was cleaned up or shut down during the load
                    models.close()
                return
            self._models = models or self._models
            for server in self._servers:
                server.serve(self._models, new)

    def _publish_diagnostics(self) -> None:
        statuses = [diagnostics.models_status(self.get_name(), self._values, self._models, self._problem)]
        for server in self._servers:
            statuses += server.statuses(self._values)
        self._diagnostics.publish(diagnostics.array(self.get_clock().now().to_msg(), statuses))


def main(args: list[str] | None = None) -> int:
    """Runs the node; see run_node for the exit codes."""
    return run_node("fusion_node", FusionNode, lambda: MultiThreadedExecutor(num_threads=4), args)


if __name__ == "__main__":
    sys.exit(main())
