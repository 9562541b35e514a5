"""fusion_node over real DDS with the OpenVINO engine, chosen by parameter."""

import numpy as np
from node_rig import NodeRig

from sage_fusion_ros.pipeline.image_codec import decode

OPENVINO = {"engine.name": "openvino", "engine.threads": 1}


def test_fused_mask_and_boxes_come_by_openvino(tmp_path):
    with NodeRig(tmp_path, **{**OPENVINO, "perception.model": "perception"}) as rig:
        rig.wait_for_subscriptions()
        rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        fused = [decode(rig.fuse_one(rgb[:height], rgb[:height, :, 0])) for height in (48, 40)]  # sizes may change
        assert [image.shape for image in fused] == [(48, 64, 3), (40, 64, 3)]
        rig.wait(lambda: rig.value("engine", "library"), "diagnostics of the engine")
        assert rig.value("engine", "library").startswith("openvino ")
        assert (rig.value("engine", "device"), rig.value("engine", "precision")) == ("cpu", "fp32")
        assert rig.value("engine", "perception: precision") == "fp32"
