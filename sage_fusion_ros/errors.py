"""Errors a user can act on. Each message names what is wrong, where, and what to do about it."""


class SageFusionError(Exception):
    """Base of every error meant for the user; a command prints its text without a traceback."""


class ImageFormatError(SageFusionError):
    """An image message or file that can't be read as what it claims to be.

    Attributes:
        reason: The part that is wrong, in a word or two that repeat, so that they can be counted: "size", "step".
    """

    def __init__(self, text: str, reason: str = "unreadable") -> None:
        super().__init__(text)
        self.reason = reason


class ModelError(SageFusionError):
    """A model folder, card or network file that is missing, damaged or of the wrong kind."""


class EngineError(SageFusionError):
    """A device or inference library that can't do what was asked."""


class SourceError(SageFusionError):
    """A folder, video or bag that can't be replayed."""


class TrainingError(SageFusionError):
    """A training run that can't go on."""


class ParameterError(SageFusionError):
    """A parameter or argument outside what it may be."""


class CalibrationError(SageFusionError):
    """A calibration file, CameraInfo or set of frames that can't say where thermal pixels lie in the RGB image."""


class MetricError(SageFusionError):
    """Images that can't be scored together, or are too small for a metric."""
