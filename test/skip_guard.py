"""Makes every skip that is not on test/allowed_skips.txt a failure, so that no test can fall silent unseen."""

import fnmatch
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("allowed_skips.txt")


def read_list(path: Path) -> list[tuple[str, str]]:
    """Pairs of (pattern of the test's file and name, words its reason has to contain)."""
    allowed = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        pattern, separator, words = entry.partition("|")
        if not separator or not words.strip():
            raise pytest.UsageError(f"{path.name}: '{entry}' is not of the form 'test file or name | reason'")
        allowed.append((pattern.strip(), words.strip()))
    return allowed


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--allowed-skips", type=Path, default=LIST, help="list of the skips that do not fail the run")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ALLOWED] = read_list(config.getoption("--allowed-skips"))


ALLOWED = pytest.StashKey[list[tuple[str, str]]]()


def judge(report: pytest.CollectReport | pytest.TestReport, config: pytest.Config) -> None:
    """Turns the report of a skip into a failure, unless the list has it. An expected failure is no skip."""
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    name = Path(report.nodeid.partition("::")[0]).name + "".join(report.nodeid.partition("::")[1:])
    if any(fnmatch.fnmatchcase(name, pattern) and words in reason for pattern, words in config.stash[ALLOWED]):
        return
    listed = config.getoption("--allowed-skips").name
    report.outcome = "failed"
    report.longrepr = f"{name} was skipped, and {listed} does not allow it. {reason}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    outcome = yield
    judge(outcome.get_result(), item.config)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    outcome = yield
    judge(outcome.get_result(), collector.config)
