"""Files that map our classes to Autoware's: the package's own, and what is wrong with others."""

import pytest

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.nodes.class_maps import ClassMap

KNOWN = {"UNKNOWN": 0, "CAR": 1, "PEDESTRIAN": 7}


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "labels.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_class_becomes_the_other_tables_number(write):
    mapped = ClassMap(write("person: PEDESTRIAN\ntraffic light: UNKNOWN\ncar: CAR\n"), KNOWN)
    assert mapped.numbers(("car", "person", "traffic light")) == [1, 7, 0]
    assert mapped.numbers(()) == []


def test_a_label_that_is_none_is_named_with_the_file_and_the_known_ones(write):
    path = write("person: PEDESTRAIN\ncar: CAR\n")
    with pytest.raises(ParameterError) as caught:
        ClassMap(path, KNOWN)
    for part in ("'person: PEDESTRAIN'", str(path), "UNKNOWN, CAR, PEDESTRIAN"):
        assert part in str(caught.value)


def test_a_class_that_is_not_in_the_file_is_named(write):
    path = write("person: PEDESTRIAN\n")
    with pytest.raises(ParameterError) as caught:
        ClassMap(path, KNOWN).numbers(("person", "tram"))
    for part in ("'tram'", str(path), "it knows person"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- person\n", "no mapping of names"),
        ("person: 7\n", "no mapping of names"),
        ("person: {a: b}\n", "no mapping of names"),
        ("", "no mapping of names"),
        ("person: [\n", "not valid YAML"),
    ],
)
def test_what_is_no_mapping_of_names_is_refused(write, text, why):
    with pytest.raises(ParameterError, match=why):
        ClassMap(write(text), KNOWN)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"absent\.yaml can't be read \(No such file"):
        ClassMap(tmp_path / "absent.yaml", KNOWN)
