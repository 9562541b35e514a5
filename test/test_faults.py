"""Every fault of the table, injected into the node over DDS: its promise is kept, and no image goes astray.

`make faults` writes docs/faults.md from a run of this.
"""

import importlib.util

import faults_cameras  # noqa: F401
import faults_compressed  # noqa: F401
import faults_messages  # noqa: F401
import faults_models  # noqa: F401
import faults_node  # noqa: F401
import pytest
from fault_models import make_models
from fault_rig import FaultRig
from fault_table import FAULTS
from mock_perception import make_perception

PARAMETERS = {"stream": {}, "compressed": {"image_transport.rgb": "compressed"}, "idle": {"autostart": "false"}}
STREAMING = ("stream", "compressed")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = make_models(tmp_path_factory.mktemp("fault_models"))
    make_perception(folder / "perception")
    return folder


@pytest.fixture(scope="module")
def rigs(models, tmp_path_factory):
    """The nodes that faults share, started when they are needed first."""
    started = {}

    def get(needs):
        if needs not in started:
            rig = started[needs] = FaultRig(models, **PARAMETERS[needs])
            rig.tmp = tmp_path_factory.mktemp(needs)
            if needs in STREAMING:
                rig.wait_for_subscriptions()
                rig.check()
        return started[needs]

    yield get
    for rig in started.values():
        rig.__exit__()


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.area}: {fault.name}")
def test_fault(fault, rigs, models, record_property):
    subject = models if fault.needs == "models" else rigs(fault.needs)
    seen = fault.inject(subject)
    if fault.needs in STREAMING:
        subject.check(fault.restarts)
    for key in ("area", "name", "promise"):
        record_property(key, getattr(fault, key))
    record_property("seen", seen)


def test_there_are_at_least_forty_and_no_two_are_one():
    names = [(fault.area, fault.name) for fault in FAULTS]
    assert len(set(names)) == len(names) >= 40


def test_the_page_has_the_same_faults_and_promises(project):
    """docs/faults.md is of this code: after a change, `make faults` writes it anew."""
    spec = importlib.util.spec_from_file_location("fault_table_tool", project / "tools" / "fault_table.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = (project / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[:2] for line in page.partition(tool.BEGIN)[2].splitlines() if line.startswith("| ")]
    found = sorted(tuple(row) for row in rows if row[0] != "| fault")
    assert found == sorted((f"| {tool.cell(fault.name)}", tool.cell(fault.promise)) for fault in FAULTS)
