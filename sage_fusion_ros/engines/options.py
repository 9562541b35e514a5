"""What a user may say about how networks run."""

from __future__ import annotations

from dataclasses import dataclass

from sage_fusion_ros.errors import EngineError

ENGINES = ("onnxruntime", "openvino", "torch")
DEVICES = ("auto", "cuda", "tensorrt", "cpu")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True)
class EngineOptions:
    """How a network is run.

    Attributes:
        name: The library, one of ENGINES.
        device: "auto" (CUDA where it works, else CPU), "cuda", "tensorrt" or "cpu".
        precision: One of PRECISIONS. int8 takes the model's own file of that kind; the others are the library's doing.
        allow_cpu: Take the CPU when the GPU that was asked for can't be had, with a note, instead of failing.
        threads: CPU threads inside an operator; 0 takes every core.
        spinning: Let idle threads spin: lower latency when nothing else needs the cores.

    Raises:
        EngineError: A word that is none of those.
    """

    name: str = "onnxruntime"
    device: str = "auto"
    precision: str = "fp32"
    allow_cpu: bool = False
    threads: int = 0
    spinning: bool = False

    def __post_init__(self) -> None:
        for key, choices in (("name", ENGINES), ("device", DEVICES), ("precision", PRECISIONS)):
            value = getattr(self, key)
            if value not in choices:
                raise EngineError(f"engine.{key} is '{value}'; expected one of {', '.join(choices)}")

    def check_precision(self, device: str, possible: tuple[str, ...]) -> None:
        """Refuses a precision that the library does not have on a device.

        Raises:
            EngineError: It is not among the possible ones.
        """
        if self.precision not in possible:
            raise EngineError(
                f"engine.precision is '{self.precision}', which {self.name} has not on the device '{device}'; "
                f"it has {', '.join(possible)}"
            )
