"""Faults of models, while pairs flow: what is bad is refused, what serves goes on, no pair is lost or comes twice."""

import re
import shutil
import threading
import time

import numpy as np
from fault_rig import RGB, picture
from fault_table import fault
from mock_perception import write_segmenter, write_yolov8
from perception_node_rig import Heard
from sensor_msgs.msg import Image
from vision_msgs.msg import LabelInfo


class Flow:
    """Pairs that flow while this is in use; afterwards each of them came out once, or is counted as replaced."""

    def __init__(self, rig, gap_s=0.015):
        self._rig, self._gap_s, self.sent = rig, gap_s, []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._ended.is_set():
            self.sent.append(self._rig.step(gap_s=self._gap_s))

    def __enter__(self):
        self._replaced = self._dropped()
        self._since = len(self._rig.fused)
        self._thread.start()
        return self

    def _dropped(self):
        return sum(self._rig.count(f"dropped: pair: {why}") for why in ("replaced by a newer pair", "stopped"))

    def __exit__(self, kind, *_):
        time.sleep(0.1)
        self._ended.set()
        self._thread.join()
        if kind is None:
            self._rig.good_pair()
            self._rig.settled()
            came = [stamp for stamp in self._rig.stamps(self._since) if stamp in set(self.sent)]
            replaced = self._dropped() - self._replaced
            assert len(came) == len(set(came)), "a pair came twice"
            # The last one is settled by the pairs after it.
            assert len(set(self.sent) - set(came)) <= replaced, (len(self.sent), len(came), replaced)

    def seen(self):
        """How it went, for the table."""
        return "each pair out once"


def mean(rig):
    return np.frombuffer(rig.fused[-1].data, np.uint8).mean()


def refused(rig, name, value, words, serving="sage_fast"):
    """Sets a parameter that has to be refused while pairs flow; returns the reason."""
    before = rig.get(name)
    with Flow(rig):
        successful, reason = rig.set(name, value)
    assert not successful
    assert words in reason, reason
    assert rig.get(name) == before
    rig.wait(lambda: rig.value("engine", "model") == serving, "the model that serves in diagnostics")
    return f'"{shown(reason)}"; the old one served every pair'


def shown(reason, most=150):
    """A reason for the table: no longer than that, without hashes and the folders of one run."""

    def end(match):
        parts = match[0].split("/")
        return ".../" + "/".join(parts[-2:] if "." in parts[-1] else parts[-1:])

    text = re.sub(r"(?:/[^\s/',;:]+){3,}", end, " ".join(reason.split()))
    text = re.sub(r"[0-9a-f]{64}", lambda match: f"{match[0][:8]}...", text)
    return text if len(text) <= most else f"{text[: most - 4]} ..."


BAD = (
    ("a model that is not there", "nowhere", "no model named 'nowhere'"),
    ("a model folder without a card", "no_card", "no model named 'no_card'"),
    ("a card without its file", "no_file", "has no file model.onnx"),
    ("a damaged file", "damaged", "has the sha256"),
    ("a file cut short, with a card that knows it", "cut", "can't be loaded as a network"),
    ("a pickle in place of a network", "pickled", "can't be loaded as a network"),
    ("a network with other inputs than its card says", "other_inputs", "its card says"),
    ("a model for another task", "other_task", "is for the task 'detection'"),
    ("a network that gives NaN in the warm-up", "no_numbers", "expected finite values"),
    ("a network that gives the wrong shape in the warm-up", "half", "expected finite values in the pair's size"),
    ("a network for which the memory does not suffice", "hungry", "failed in the warm-up"),
)
for what, model, words in BAD:

    @fault("Model change", f"fusion.model: {what}", "refused with the reason; parameter, model and outputs stay")
    def bad_model(rig, model=model, words=words):
        return refused(rig, "fusion.model", model, words)


@fault("Model change", "fusion.model: another good one", "the old one serves until the swap; no pair lost or twice")
def good_model(rig):
    with Flow(rig) as flow:
        assert rig.set("fusion.model", "mean") == (True, "")
    rig.wait(lambda: rig.value("engine", "model") == "mean", "the new model")
    assert rig.set("fusion.model", "sage_fast")[0]
    return flow.seen()


@fault("Model change", "eight changes in a row", "no thread, and so no session, of an old model stays")
def many_changes(rig):
    def threads():
        return len(list(rig.proc.joinpath("task").iterdir()))

    for model in ("mean", "sage_fast"):
        assert rig.set("fusion.model", model)[0]
    rig.good_pair()
    before = threads()
    for _ in range(4):
        for model in ("mean", "sage_fast"):
            assert rig.set("fusion.model", model)[0]
            rig.good_pair()
    rig.wait(lambda: threads() <= before, "the end of the old models' threads")
    return "as many threads after as before"


def while_loading(rig, action):
    """Sets a model that takes long to load, does something in the middle, and returns the answer to the first."""
    answers, seen = [], rig.log.count("loading model ponderous")
    thread = threading.Thread(target=lambda: answers.append(rig.set("fusion.model", "ponderous")))
    thread.start()
    rig.wait(lambda: rig.log.count("loading model ponderous") > seen, "the load")
    action(answers)
    thread.join(60)
    return answers[0]


@fault("Model change", "a second change while the first one loads", "the second is refused; the first is not disturbed")
def second_change(rig):
    second = []

    def action(answers):
        second.append(rig.set("fusion.model", "mean"))
        assert not answers, "the model took too little time"

    with Flow(rig) as flow:
        assert while_loading(rig, action) == (True, "")
        assert second[0][0] is False
        assert "another one is being loaded" in second[0][1]
        assert rig.set("fusion.model", "sage_fast")[0]
    return f'"{second[0][1]}"; {flow.seen()} or replaced by a newer one'


@fault(
    "Model change", "deactivated and activated while a model loads", "the new model serves after both", restarts=True
)
def deactivated_in_load(rig):
    def action(_):
        assert rig.change_state("deactivate")
        assert rig.change_state("activate")

    assert while_loading(rig, action) == (True, "")
    rig.wait_for_subscriptions()
    rig.wait(lambda: rig.value("engine", "model") == "ponderous", "the new model")
    assert rig.set("fusion.model", "sage_fast")[0]
    return "the new model serves"


@fault(
    "Model change",
    "cleaned up while a model loads",
    "the loaded one is freed; configure is refused until then",
    restarts=True,
)
def cleaned_in_load(rig):
    configured = []

    def action(answers):
        assert rig.change_state("deactivate")
        assert rig.change_state("cleanup")
        configured.append((rig.change_state("configure"), bool(answers)))

    assert while_loading(rig, action) == (True, "")
    assert configured == [(False, False)]
    assert "another one is being loaded" in rig.log
    assert rig.set("fusion.model", "sage_fast")[0]
    assert rig.change_state("configure")
    assert rig.change_state("activate")
    rig.wait_for_subscriptions()
    return "unconfigured after the load, and configured again with the model then set"


@fault(
    "Model change",
    "the model's folder is deleted after it was loaded",
    "it goes on serving; loaded again, it is refused",
)
def deleted(rig):
    assert rig.set("fusion.model", "doomed")[0]
    shutil.rmtree(rig.models / "doomed")
    rig.good_pair()
    with Flow(rig) as flow:
        pass
    assert rig.set("fusion.model", "sage_fast")[0]
    refused(rig, "fusion.model", "doomed", "no model named 'doomed'")
    return f"{flow.seen()}; then \"no model named 'doomed'\""


@fault("Inference", "the network fails on an image", "that pair is counted and told, the next one is fused")
def inference_fails(rig):
    return bright(rig, "moody", "failed")


@fault("Inference", "the network gives NaN on an image", "nothing goes out for that pair; counted, told, and on")
def inference_gives_nan(rig):
    return bright(rig, "fickle", "unreadable: pair")


def bright(rig, model, reason):
    assert rig.set("fusion.model", model)[0]
    before = rig.count(f"dropped: pair: {reason}")
    image = np.random.default_rng(0).integers(228, 254, (48, 64), np.uint8)
    rig.until(lambda: rig.count(f"dropped: pair: {reason}") > before, "the pair in diagnostics", thermal=image)
    rig.good_pair()
    said = rig.value("input rgb", "last_error")
    assert rig.set("fusion.model", "sage_fast")[0]
    return f'counted as "dropped: pair: {reason}"; "{shown(said, 120)}"'


@fault("Inference", "the network is slower than the cameras", "the newest pair is taken, those it replaces are counted")
def slow(rig):
    assert rig.set("fusion.model", "slow")[0]
    before = rig.count("dropped: pair: replaced by a newer pair")
    pictures = [picture(RGB, number, 160, 208) for number in range(8)]  # drawn beforehand, or the cameras are slower
    rig.until(
        lambda: rig.count("dropped: pair: replaced by a newer pair") > before + 5,
        "pairs replaced",
        rgb=lambda number: pictures[number % 8],
        gap_s=0.0,
    )
    assert rig.set("fusion.model", "sage_fast")[0]
    return 'counted as "dropped: pair: replaced by a newer pair"'


def perceiving(rig, changes):
    """Tries changes that have to be refused, with the perception model on; labels and masks go on as they were."""
    assert rig.set("perception.model", "perception")[0]
    reasons = []
    with (
        Heard(rig, LabelInfo, "mask/label_info", latched=True) as mask_labels,
        Heard(rig, LabelInfo, "detections/label_info", latched=True) as box_labels,
        Heard(rig, Image, "mask") as masks,
    ):
        rig.wait(lambda: mask_labels.messages and box_labels.messages, "the labels")
        rig.until(lambda: masks.messages, "a mask")
        for name, value, words in changes:
            successful, reason = rig.set(name, value)
            assert not successful
            assert words in reason, reason
            reasons.append(f'"{shown(reason, 90)}"')
        seen = len(masks.messages)
        rig.until(lambda: len(masks.messages) > seen, "a mask of the old model")
        assert len(mask_labels.messages) == len(box_labels.messages) == 1
    assert rig.set("perception.model", "")[0]
    return "; ".join(reasons)


@fault("Model change", "perception.model: missing, or for another task", "refused; masks, boxes and their labels stay")
def bad_perception(rig):
    changes = [("nowhere", "no model named"), ("sage_fast", "is for the task 'fusion'")]
    return perceiving(rig, [("perception.model", name, words) for name, words in changes])


@fault(
    "Model change", "detection.model: no file, no detector, no classes", "refused; masks, boxes and their labels stay"
)
def bad_detector(rig):
    own = write_yolov8(rig.tmp / "detector.onnx", classes=3)
    changes = [
        (str(rig.tmp / "none.onnx"), "does not exist"),
        (str(rig.models / "mean" / "model.onnx"), "whose classes are not known"),
        (str(own), "whose classes are not known"),
    ]
    return perceiving(rig, [("detection.model", name, words) for name, words in changes])


@fault("Model change", "segmentation.model: a damaged file", "refused; masks, boxes and their labels stay")
def bad_segmenter(rig):
    own = write_segmenter(rig.tmp / "segmenter.onnx")
    own.write_bytes(own.read_bytes()[:200])
    assert rig.set("segmentation.classes", ["cityscapes"])[0]
    seen = perceiving(rig, [("segmentation.model", str(own), "can't be loaded")])
    assert rig.set("segmentation.classes", [""])[0]
    return seen
