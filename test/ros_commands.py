"""Holds `ros2 ...` commands against the package: executables, launch files, parameters, topics, services."""

import importlib.metadata
import re
import shlex
import subprocess

import yaml
from doc_commands import PROJECT, without_settings
from launch_files import all_arguments

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.nodes.parameters import FUSION_PARAMETERS
from sage_fusion_ros.nodes.replay_parameters import REPLAY_PARAMETERS

PACKAGE = "sage_fusion_ros"
TABLES = {"fusion_node": FUSION_PARAMETERS, "replay_node": REPLAY_PARAMETERS}
MAPPINGS = {"parameters": FUSION_PARAMETERS, "replay_parameters": REPLAY_PARAMETERS}
# Of other packages: programs, and where topics that are not ours may lie.
OTHERS = {("nav2_lifecycle_manager", "lifecycle_manager")}
FOREIGN_TOPICS = ("/camera/", "/thermal/", "/sensing/", "/perception/", "/front/", "/rear/", "/diagnostics", "/clock")
# Shell and tools around ros2: only their syntax is looked at.
AROUND = {"source", "cd", "mkdir", "touch", "git", "rosdep", "export", "python3", ".venv/bin/python"}
TRANSITIONS = {"configure", "activate", "deactivate", "cleanup", "shutdown"}
# Options of each command that take a value; all others stand alone.
OPTIONS = {
    "bag record": {"-o", "--output", "-s", "--storage", "--max-cache-size", "--compression-mode"},
    "bag play": {"-r", "--rate", "--start-offset", "--remap", "-s", "--storage", "--topics"},
    "topic echo": {"--qos-reliability", "--qos-durability", "--field"},
    "topic hz": {"--window"},
    "topic delay": {"--window"},
}
FLAGS = {
    "bag record": {"-a", "--all"},
    "bag play": {"--clock", "-l", "--loop", "-p", "--start-paused"},
    "topic echo": {"--once", "--no-arr"},
    "topic info": {"-v", "--verbose"},
    "pkg prefix": {"--share"},
    "launch": {"--show-args", "-s"},
}


class Refused(AssertionError):
    """A command that names what is not there, or has a form that ros2 does not take."""


def need(condition, text):
    if not condition:
        raise Refused(text)


def check_syntax(text):
    """Lets bash read a block without running it."""
    run = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True, timeout=30, check=False)
    need(run.returncode == 0, run.stderr)


def check(words, names):
    """Holds one command against the package.

    Args:
        words: Its words.
        names: Node to the names of its topics and services, without namespace and node: {"fusion_node": {...}}.

    Raises:
        Refused: It would not do what it says.
    """
    inner = re.search(r"\$\((.*?)\)(.*)", " ".join(words)) if words[0].partition("=")[2].startswith("$(") else None
    if inner:  # NAME=$(command)/a/file/of/the/package
        check(tuple(shlex.split(inner[1])), names)
        need(not inner[2] or (PROJECT / inner[2].strip("/")).exists(), f"the package has no {inner[2]}")
        return
    words = without_settings(words)
    if not words or words[0] in AROUND:
        return
    if words[0] == "fastdds":  # Fast DDS's own tool
        need(words[1:] == ["shm", "clean"], f"no rule for '{' '.join(words)}'")
        return
    need(words[0] == "ros2", f"no rule for '{words[0]}'")
    need(len(words) > 1, "ros2 without a command")
    if words[1] in ("launch", "run"):
        {"launch": check_launch, "run": check_run}[words[1]](words[2:], names)
        return
    verb = " ".join(words[1:3])
    need(verb in VERBS, f"no rule for 'ros2 {verb}'")
    VERBS[verb](plain(verb, words[3:]), names)


def plain(verb, words):
    """A command's words without its options, which have to be known."""
    left, words = [], list(words)
    while words:
        word = words.pop(0)
        if word == ">":  # into a file
            words.pop(0)
        elif word in OPTIONS.get(verb, ()):
            need(words and not words[0].startswith("-"), f"{word} takes a value")
            words.pop(0)
        elif word.startswith("-"):
            need(word in FLAGS.get(verb, ()), f"'ros2 {verb}' has no option {word} known here")
        else:
            left.append(word)
    return left


def check_launch(words, names):
    words = plain("launch", words)
    need(words[0] == PACKAGE and len(words) > 1, f"launches a file of {words[0]}, not of this package")
    file = PROJECT / "launch" / words[1]
    need(file.is_file(), f"there is no launch file {words[1]}")
    known = all_arguments(file)
    for argument in words[2:]:
        name, sign, value = argument.partition(":=")
        need(sign and name and value, f"'{argument}' is no name:=value, and ros2 launch takes no empty value")
        need(name in known, f"{words[1]} has no argument {name}")
        choices = known[name][1]
        need(choices is None or value in choices, f"{name} is '{value}'; expected one of {choices}")
        if name in MAPPINGS:
            for parameter, given in yaml.safe_load(value).items():
                check_parameter(MAPPINGS[name], parameter, given)


def check_run(words, names):
    package, executable, *rest = words
    if (package, executable) in OTHERS:
        return
    installed = importlib.metadata.distribution(PACKAGE).entry_points.select(group="console_scripts")
    need(package == PACKAGE and executable in installed.names, f"there is no {package} {executable}")
    need(not rest or rest.pop(0) == "--ros-args", "arguments of a node follow --ros-args")
    while rest:
        option = rest.pop(0)
        need(rest, f"{option} takes a value")
        value = rest.pop(0)
        name, sign, given = value.partition(":=")
        if option in ("-p", "--param"):
            need(sign, f"'{value}' is no name:=value")
            check_parameter(TABLES[executable], name, yaml.safe_load(given))
        elif option in ("-r", "--remap"):
            need(sign, f"'{value}' is no from:=to")
            need(name in ("__ns", "__node") or name.removeprefix("~/") in names[executable], f"no topic {name}")
        else:
            need(option in ("--params-file", "--log-level"), f"no option {option} known here")


def check_parameter(table, name, value):
    """A name in a node's table, and a value that it takes."""
    if name in ("use_sim_time",):
        return
    need(name in {spec.name for spec in table}, f"there is no parameter {name}")
    if isinstance(value, str) and value.startswith(("$", "/")):
        return  # a path of the user's
    try:
        table[name].coerce(value)
    except ParameterError as error:
        raise Refused(str(error)) from error


def check_topic(topic, names):
    """A topic of one of our nodes in any namespace, or one that is known not to be ours."""
    match = re.fullmatch(r"(?:/\w+)*/(fusion_node|replay_node)/(.+)", topic)
    need(match or topic.startswith(FOREIGN_TOPICS), f"{topic} is neither ours nor known to be another's")
    need(not match or match[2] in names[match[1]], f"there is no topic {topic}")


def node_of(name):
    match = re.fullmatch(r"(?:/\w+)*/(fusion_node|replay_node)", name)
    need(match, f"{name} is no node of this package")
    return match[1]


def check_parameter_command(words, names, live=False):
    node = node_of(words[0])
    for name in words[1:2]:
        need(name in {spec.name for spec in TABLES[node]}, f"{node} has no parameter {name}")
    if live:
        need(len(words) == 3, "expected node, name and value")
        need(TABLES[node][words[1]].live, f"{words[1]} can't change while the node runs")
        check_parameter(TABLES[node], words[1], yaml.safe_load(words[2]))


def check_transition(words, names):
    node_of(words[0])
    need(words[1] in TRANSITIONS, f"there is no transition {words[1]}")


def check_service(words, names):
    match = re.fullmatch(r"(?:/\w+)*/(fusion_node|replay_node)/(.+)", words[0])
    need(match and match[2] in names[match[1]], f"there is no service {words[0]}")


def check_recording(words, names):
    need(words, "names no topic")
    for topic in words:
        check_topic(topic, names)


VERBS = {
    "param set": lambda words, names: check_parameter_command(words, names, live=True),
    **dict.fromkeys(("param get", "param describe", "param dump", "param list"), check_parameter_command),
    **dict.fromkeys(("topic echo", "topic hz", "topic delay", "topic info"), lambda w, n: check_topic(w[0], n)),
    "topic list": lambda words, names: None,
    "lifecycle get": lambda words, names: node_of(words[0]),
    "lifecycle set": check_transition,
    "service call": check_service,
    "bag record": check_recording,
    "bag play": lambda words, names: need(len(words) == 1, "names one bag"),
    "bag info": lambda words, names: need(len(words) == 1, "names one bag"),
    "pkg prefix": lambda words, names: need(words == [PACKAGE], f"expected {PACKAGE}"),
}
