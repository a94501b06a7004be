"""`pytest experiments/ --cluster sandbox`: each experiment file is a test, a check that does not hold is its assertion.

Without --cluster nothing is collected: a test run that strikes a cluster because a YAML file lies around would be a
surprise of the worst kind. Files without a block named bulletproof, and suites, are left alone. One cluster serves the
whole session; run folders are kept under --bulletproof-out (by default runs/).

An experiment that ends SKIPPED is a skipped test. A session in which no other test ran tested nothing, and ends with
exit code 5: pytest's own for "no tests", and that of `bulletproof run` for SKIPPED.

Imported by pytest in every project where Bulletproof is installed: what is heavy is imported when an experiment runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from contextlib import ExitStack

    from harness.experiment.model import Experiment
    from harness.verdict import CheckResult, Verdict

_SUFFIXES = (".yaml", ".yml")
_VERDICT = "bulletproof.verdict"  # property of a test's report


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the plugin."""
    from clusters.provider import CLUSTERS

    group = parser.getgroup("bulletproof", "Bulletproof: run experiment files as tests")
    group.addoption(
        "--cluster",
        metavar="CLUSTER",
        help=f"Run experiment files on this cluster: {CLUSTERS}.",
    )
    group.addoption("--cluster-config", metavar="FILE", help="The cluster's configuration file.")
    group.addoption("--platform", metavar="NAME", help="Overlay of the reference platform to deploy.")
    group.addoption("--bulletproof-out", metavar="DIR", help="Folder for the run folders. Default: runs.")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """An experiment file is collected when a cluster was named."""
    if parent.config.getoption("--cluster") is None or file_path.suffix not in _SUFFIXES:
        return None
    if not _is_experiment(file_path):
        return None
    return ExperimentFile.from_parent(parent, path=file_path)


def pytest_configure(config: pytest.Config) -> None:
    """In the process that pytest ends with; the workers of pytest-xdist send it their reports."""
    if config.getoption("--cluster") is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Endings(), "bulletproof-endings")


def pytest_unconfigure(config: pytest.Config) -> None:
    """A cluster that was brought up for the session ends with it."""
    stack: ExitStack | None = config.stash.get(_STACK, None)
    if stack is not None:
        stack.close()


class Endings:
    """Whether a session tested anything: skipped experiments alone must not look like success."""

    def __init__(self) -> None:
        self._skipped = 0  # experiments with that verdict
        self._ran = False  # any test at all, ours or not

    @property
    def nothing_tested(self) -> bool:
        """Experiments were SKIPPED, and no test ran."""
        return self._skipped > 0 and not self._ran

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test ran when it passed, failed or had an error, or did as its xfail mark says."""
        self._skipped += report.skipped and (_VERDICT, "SKIPPED") in map(tuple, report.user_properties)
        self._ran |= report.failed or (report.when == "call" and report.passed) or hasattr(report, "wasxfail")

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Only success is changed: whatever else pytest ends with says more."""
        if exitstatus == pytest.ExitCode.OK and self.nothing_tested:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Why the exit code is not 0."""
        if self.nothing_tested:
            terminalreporter.section("bulletproof")
            terminalreporter.line(
                f"Nothing was tested: all experiments that ran ended SKIPPED ({self._skipped}), and no other test ran. "
                f"Exit code {int(pytest.ExitCode.NO_TESTS_COLLECTED)}."
            )


class ExperimentFile(pytest.File):
    """One file, one test."""

    def collect(self) -> Iterator[ExperimentItem]:
        """The experiment of the file. Raises pytest.Collector.CollectError with every error of the file."""
        from harness.errors import UsageError
        from harness.experiment.loader import load

        try:
            experiment = load(self.path)
        except UsageError as error:
            raise self.CollectError(str(error)) from None
        yield ExperimentItem.from_parent(self, name=self.path.stem, experiment=experiment)


class ExperimentItem(pytest.Item):
    """One experiment: runs, and fails unless its verdict is PASSED."""

    def __init__(self, *, experiment: Experiment, **others: Any) -> None:
        super().__init__(**others)
        self.experiment = experiment
        self.extra_keyword_matches.update(experiment.tags)  # pytest -k nightly

    def runtest(self) -> None:
        """Run the experiment. Raises BrokenPromise; a SKIPPED run skips the test."""
        import os
        import sys

        from clusters.provider import IMAGE_VARIABLE
        from harness.cli.output import write_reports
        from harness.run.options import RunOptions
        from harness.run.progress import PlainLines
        from harness.run.runner import run_experiment
        from harness.verdict import VerdictName

        out = self.config.getoption("--bulletproof-out")
        options = RunOptions(
            cluster=_cluster_of(self.config),
            cluster_config=cluster_config(self.config),
            platform=self.config.getoption("--platform"),
            image=os.environ.get(IMAGE_VARIABLE),
            out=self._folder(Path(out)) if out else None,
            command=f"pytest {self.nodeid}",
        )
        result = run_experiment(self.experiment, options, PlainLines(sys.stderr))
        write_reports(result.run_dir, result.verdict)
        self.add_report_section("call", "bulletproof", f"run folder: {result.run_dir}")
        self.user_properties.append((_VERDICT, result.verdict.verdict.value))  # pytest's JUnit XML has it too
        if result.verdict.verdict in (VerdictName.RESIDUE, VerdictName.ABORTED):
            # A spoiled cluster, or somebody's wish: the next experiment is not begun.
            self.session.shouldstop = f"{self.name} ended {result.verdict.verdict.value}"
        if result.verdict.verdict is VerdictName.SKIPPED:
            pytest.skip(result.verdict.why)
        if result.verdict.verdict is not VerdictName.PASSED:
            raise BrokenPromiseError(result.verdict, result.run_dir)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The verdict and the checks that did not hold, instead of a traceback through the harness."""
        if isinstance(excinfo.value, BrokenPromiseError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """What stands in the list of tests: the promise."""
        return self.path, None, self.experiment.title

    def _folder(self, out: Path) -> Path:
        from harness.run.environment import new_run_id

        return out / new_run_id(self.experiment)


class BrokenPromiseError(AssertionError):
    """The verdict is not PASSED. Its text is what a person reads in the test report."""

    def __init__(self, verdict: Verdict, run_dir: Path) -> None:
        self.verdict = verdict
        self.run_dir = run_dir
        super().__init__(describe(verdict, run_dir))


def describe(verdict: Verdict, run_dir: Path) -> str:
    """The promise, the verdict, each check that did not hold with expected and seen, and where the report is."""
    from harness.verdict import VerdictName

    lines = [verdict.title, f"{verdict.verdict.value}: {verdict.why}", ""]
    for check in verdict.checks:
        if check.verdict is not VerdictName.PASSED:
            lines += _check_lines(check)
    return "\n".join([*lines, f"report: {run_dir / 'report.html'}", f"again:  bulletproof judge {run_dir}"])


def _check_lines(check: CheckResult) -> list[str]:
    lines = [f"{check.verdict.value} {check.name}", f"  expected: {check.expected}", f"  seen:     {check.seen}"]
    lines += [f"  why:      {check.why}"] if check.why and check.why != check.seen else []
    return [*lines, *([f"  hint:     {check.hint}"] if check.hint else []), ""]


def _is_experiment(path: Path) -> bool:
    """Whether a YAML file has a block named bulletproof. What is no YAML is not ours to complain about."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        if "bulletproof" not in text:
            return False
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    blocks = document.get("extensions") if isinstance(document, dict) else None
    return isinstance(blocks, list) and any(
        isinstance(block, dict) and block.get("name") == "bulletproof" for block in blocks
    )


_STACK: pytest.StashKey[Any] = pytest.StashKey()
_CLUSTER: pytest.StashKey[str] = pytest.StashKey()


def cluster_config(config: pytest.Config) -> Path | None:
    """The cluster's configuration file, where one was named."""
    named = config.getoption("--cluster-config")
    return Path(named) if named else None


def _cluster_of(config: pytest.Config) -> str:
    """The cluster of the session: brought up at the first experiment, for all of them."""
    from contextlib import ExitStack

    from harness.suite import shared_cluster

    if _CLUSTER not in config.stash:
        stack = ExitStack()
        config.stash[_STACK] = stack
        config.stash[_CLUSTER] = stack.enter_context(
            shared_cluster(str(config.getoption("--cluster")), config=cluster_config(config))
        )
    return config.stash[_CLUSTER]
