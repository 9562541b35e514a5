"""The guard that fails a run for a skip nobody has agreed to."""

import textwrap

import pytest
from skip_guard import read_list

pytest_plugins = ["pytester"]


def run(pytester: pytest.Pytester, allowed: str, **files: str) -> pytest.RunResult:
    (pytester.path / "allowed.txt").write_text(allowed, encoding="utf-8")
    pytester.makepyfile(**{name: textwrap.dedent(text) for name, text in files.items()})
    return pytester.runpytest_inprocess("-p", "skip_guard", "--allowed-skips", "allowed.txt", "-p", "no:cacheprovider")


SKIPPING = """
    import pytest

    def test_gpu():
        pytest.skip("no GPU on this machine")

    @pytest.mark.skip(reason="too slow")
    def test_marked():
        pass

    def test_runs():
        pass
"""


def test_an_unlisted_skip_fails_and_is_named(pytester):
    result = run(pytester, "test_parts.py::test_gpu | no GPU", test_parts=SKIPPING)
    result.assert_outcomes(passed=1, skipped=1, failed=0, errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*test_parts.py::test_marked was skipped, and allowed.txt does not allow it*too slow*"]
    )


def test_listed_skips_pass(pytester):
    allowed = "# why\ntest_parts.py::test_gpu | no GPU\n\ntest_parts.py::test_m* | too slow  # because\n"
    result = run(pytester, allowed, test_parts=SKIPPING)
    result.assert_outcomes(passed=1, skipped=2)
    assert result.ret == pytest.ExitCode.OK


def test_the_reason_has_to_be_the_agreed_one(pytester):
    result = run(pytester, "test_parts.py::* | no shared data", test_parts=SKIPPING)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(("allowed", "code"), [("", 2), ("test_whole.py | needs no_such_module", 0)])
def test_skips_of_a_whole_file_count_too(pytester, allowed, code):
    whole = 'import pytest\npytest.importorskip("no_such_module", reason="needs no_such_module")\ndef test_a(): pass\n'
    result = run(pytester, allowed, test_whole=whole, test_parts="def test_runs(): pass")
    assert result.ret == code


def test_an_expected_failure_is_no_skip(pytester):
    result = run(pytester, "", test_parts="import pytest\n@pytest.mark.xfail\ndef test_bug(): assert False\n")
    result.assert_outcomes(xfailed=1)
    assert result.ret == pytest.ExitCode.OK


def test_a_line_without_reason_is_refused(tmp_path):
    listing = tmp_path / "allowed.txt"
    listing.write_text("test_parts.py::test_gpu\n", encoding="utf-8")
    with pytest.raises(pytest.UsageError, match="test_gpu"):
        read_list(listing)
