"""The parameters of fusion_node."""

from __future__ import annotations

from sage_fusion_ros.engines.options import DEVICES, ENGINES, PRECISIONS
from sage_fusion_ros.nodes.degraded_parameters import DEGRADED_PARAMETERS
from sage_fusion_ros.nodes.parameter_table import ParameterTable, Spec
from sage_fusion_ros.pipeline.detection_layouts import DETECTION_LAYOUTS
from sage_fusion_ros.pipeline.pairing import CAMERAS
from sage_fusion_ros.pipeline.registration import METHODS, UNREADY
from sage_fusion_ros.pipeline.segment import SEGMENTATION_LAYOUTS
from sage_fusion_ros.pipeline.thermal import NORMALISATIONS

RELIABILITIES = ("best_effort", "reliable")
TRANSPORTS = ("raw", "compressed")

FUSION_PARAMETERS = ParameterTable(
    Spec("fusion.model", "sage_fast", "Fusion model: a name in models.path or the package, or a folder.", live=True),
    Spec(
        "perception.model",
        "perception",
        "Model for mask and boxes in one: a name, or a folder; empty: neither, unless the next two name a model.",
        live=True,
    ),
    Spec(
        "detection.model",
        "",
        "Detector in place of the perception model's boxes: an ONNX file or a model folder.",
        live=True,
    ),
    Spec(
        "detection.classes",
        [""],
        "Its class names in their order; or one entry: a text file, cityscapes, coco or driving; empty: its card's.",
        live=True,
    ),
    Spec(
        "detection.layout",
        "auto",
        "How it takes images and gives boxes; auto: found by the shapes.",
        choices=("auto", *DETECTION_LAYOUTS),
        live=True,
    ),
    Spec(
        "detection.score_threshold",
        0.3,
        "Boxes of a lower score are left out.",
        low=0.0,
        high=1.0,
        live=True,
    ),
    Spec(
        "detection.iou_threshold",
        0.5,
        "Of two boxes of a class that overlap more, the one of the lower score is left out.",
        low=0.0,
        high=1.0,
        live=True,
    ),
    Spec(
        "detection.class_id",
        "name",
        "What ~/output/detections writes as class_id: the class's name, or its number as text.",
        choices=("name", "number"),
        live=True,
    ),
    Spec(
        "segmentation.model",
        "",
        "Segmenter in place of the perception model's mask: an ONNX file or a model folder.",
        live=True,
    ),
    Spec(
        "segmentation.classes",
        [""],
        "Its class names in their order; or one entry: a text file, cityscapes, coco or driving; empty: its card's.",
        live=True,
    ),
    Spec(
        "segmentation.layout",
        "auto",
        "logits: NxCxhxw; ids: Nxhxw; with _unit it takes RGB in 0..1, else less ImageNet's mean; auto: by the shapes.",
        choices=("auto", *SEGMENTATION_LAYOUTS),
        live=True,
    ),
    Spec(
        "pairs",
        [""],
        "Names of several pairs of cameras that share the models, each with topics below ~/<name>/; empty: one pair.",
    ),
    Spec("models.path", [""], "Folders searched for models before the package's own."),
    Spec("engine.name", "onnxruntime", "Library that runs the models.", choices=ENGINES),
    Spec(
        "engine.device", "auto", "Where the model runs; auto takes CUDA where it works, else the CPU.", choices=DEVICES
    ),
    Spec(
        "engine.precision",
        "fp32",
        "What the networks compute in; int8 takes the models' own files of that kind.",
        choices=PRECISIONS,
    ),
    Spec("engine.allow_cpu", False, "Run on the CPU when the GPU asked for can't be had, instead of failing."),
    Spec("engine.threads", 0, "CPU threads inside an operator; 0 takes every core.", low=0, high=64),
    Spec("engine.spinning", False, "Idle CPU threads spin: a little faster where nothing else needs the cores."),
    Spec(
        "pairing.method",
        "nearest",
        "nearest: one to one by stamps; message_filters: the stock approximate synchronizer, where it is installed.",
        choices=("nearest", "message_filters"),
    ),
    Spec(
        "pairing.max_dt_ms",
        20.0,
        "Greatest distance between the stamps of a pair, after the offset's correction.",
        "ms",
        0.0,
        1000.0,
        live=True,
    ),
    Spec(
        "pairing.thermal_offset_ms",
        0.0,
        "How much later the thermal camera stamps the same moment; subtracted before pairing.",
        "ms",
        -5000.0,
        5000.0,
        live=True,
    ),
    Spec("pairing.hold_ms", 100.0, "Longest time a frame waits for its partner.", "ms", 0.0, 5000.0, live=True),
    Spec("pairing.drive", "rgb", "Camera whose stamp the outputs carry.", choices=CAMERAS, live=True),
    *DEGRADED_PARAMETERS,
    Spec("rate.max_hz", 0.0, "Most pairs fused a second; 0 fuses every pair.", "Hz", 0.0, 1000.0, live=True),
    Spec(
        "rate.workers",
        1,
        "Pairs fused side by side, each by a thread with its own networks; engine.threads 0 then shares the cores out.",
        low=1,
        high=16,
    ),
    Spec(
        "thermal.normalisation",
        "auto",
        "auto: 8-bit as it is, others by percentiles; percentile: always; fixed: thermal.low to thermal.high.",
        choices=NORMALISATIONS,
        live=True,
    ),
    Spec(
        "thermal.low", 273.0, "fixed: value shown black, after scale and offset.", "counts or K", -1e6, 1e6, live=True
    ),
    Spec(
        "thermal.high", 323.0, "fixed: value shown white, after scale and offset.", "counts or K", -1e6, 1e6, live=True
    ),
    Spec("thermal.low_percentile", 0.5, "percentile: share of pixels shown black.", "%", 0.0, 100.0, live=True),
    Spec("thermal.high_percentile", 99.5, "percentile: where white begins.", "%", 0.0, 100.0, live=True),
    Spec(
        "thermal.smoothing_s",
        1.0,
        "percentile: time constant of its range; 0 follows at once.",
        "s",
        0.0,
        60.0,
        live=True,
    ),
    Spec(
        "thermal.min_span",
        0.0,
        "percentile: least span of black to white, so that a flat scene does not show noise; 0: 50 counts, or 2 K.",
        "counts or K",
        0.0,
        1e6,
        live=True,
    ),
    Spec(
        "thermal.scale",
        1.0,
        "Physical value = count x scale + offset (0.01: centikelvin).",
        "K/count",
        1e-6,
        1e6,
        live=True,
    ),
    Spec("thermal.offset", 0.0, "See thermal.scale.", "K", -1e6, 1e6, live=True),
    Spec(
        "registration.method",
        "none",
        "none: thermal is resized; homography: by registration.file; calibrated: by two lenses and how they stand.",
        choices=METHODS,
    ),
    Spec(
        "registration.file",
        "",
        "Calibration file (docs/registration.md), from the working directory if not absolute; calibrated without one: "
        "CameraInfo and TF; {pair} in it stands for the pair's name.",
    ),
    Spec(
        "registration.plane_distance_m",
        20.0,
        "calibrated: distance at which the two images agree; nearer and farther things are off by their parallax.",
        "m",
        0.1,
        10000.0,
        live=True,
    ),
    Spec(
        "registration.rectified",
        "none",
        "calibrated: which camera's images are rectified already, so that CameraInfo's P and R count, not K and D.",
        choices=("none", *CAMERAS, "both"),
    ),
    Spec(
        "registration.unready",
        "rgb_only",
        "While a calibration is missing or does not fit: the RGB image, thermal resized as without one, or nothing.",
        choices=UNREADY,
        live=True,
    ),
    Spec(
        "output.thermal_tint",
        0.0,
        "How strongly what is warmer than its surroundings is coloured orange to yellow, brightness unchanged.",
        low=0.0,
        high=1.0,
        live=True,
    ),
    Spec(
        "output.overlay_opacity",
        0.5,
        "How strongly the mask covers ~/output/overlay.",
        low=0.0,
        high=1.0,
        live=True,
    ),
    Spec(
        "output.autoware_labels",
        "",
        "File that maps the boxes' classes to Autoware's; empty: config/autoware_labels.yaml of the package.",
    ),
    Spec(
        "output.autoware_mask",
        "",
        "File that maps the mask's classes to Autoware's 16; empty: config/autoware_mask.yaml of the package.",
    ),
    Spec(
        "output.jpeg_quality",
        95,
        "Quality of ~/output/fused/compressed and ~/output/overlay/compressed.",
        low=1,
        high=100,
        live=True,
    ),
    Spec(
        "output.png_level",
        3,
        "How hard the compressed mask and thermal_valid are packed, without loss; 9 is the smallest and slowest.",
        low=0,
        high=9,
        live=True,
    ),
    Spec(
        "image_transport.rgb",
        "raw",
        "raw: images of ~/input/rgb; compressed: JPEG or PNG of ~/input/rgb/compressed.",
        choices=TRANSPORTS,
    ),
    Spec(
        "image_transport.thermal",
        "raw",
        "Likewise for ~/input/thermal; PNG keeps 16 bits, JPEG does not.",
        choices=TRANSPORTS,
    ),
    Spec("qos.input.reliability", "best_effort", "Reliability of the input subscriptions.", choices=RELIABILITIES),
    Spec("qos.input.depth", 5, "Messages kept for each input.", low=1, high=100),
    Spec("qos.output.reliability", "reliable", "Reliability of the outputs.", choices=RELIABILITIES),
    Spec("qos.output.depth", 1, "Messages kept for each output.", low=1, high=100),
    Spec("diagnostics.period_s", 1.0, "Time between two messages on /diagnostics.", "s", 0.1, 60.0),
    Spec("diagnostics.stale_ms", 1000.0, "An input silent for longer is an error.", "ms", 10.0, 60000.0, live=True),
    Spec("autostart", True, "Configure and activate by itself; set false under a lifecycle manager."),
)
