"""Fixtures over the problems of `problems.py`: fits, native models and artifacts.

Each is made once per process, and tests of one architecture run in one process.
"""

from collections.abc import Iterable, Iterator
from functools import cache

import pytest

from pipelines.architectures import ARCHITECTURES, Architecture, Estimator, Loss, TrainingRows
from registry.contract import ModelContract
from registry.errors import UnsupportedModelError
from registry.flavors import FLAVORS, Artifact, NativeModel
from tests.conformance.problems import (
    Problem,
    format_names,
    is_slow,
    learner_names,
    make_problem,
    problem_names,
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests the problems that they ask for; asking loads every architecture."""
    if "problem" in metafunc.fixturenames:
        is_of_format = "one_per_format" in metafunc.fixturenames
        names = format_names() if is_of_format else problem_names()
        metafunc.parametrize("problem", problems(names), indirect=True, scope="session")
    if "learner" in metafunc.fixturenames:
        names = [pytest.param(n, marks=pytest.mark.xdist_group(group(n))) for n in learner_names()]
        metafunc.parametrize("learner", names, indirect=True)


def problems(names: Iterable[tuple[str, Loss]]) -> list:
    """Parameters of `problem`: those of one architecture run in one process."""
    return [
        pytest.param((name, loss), id=f"{name}-{loss}", marks=[*marks(name, loss)])
        for name, loss in names
    ]


def marks(name: str, loss: Loss) -> Iterator[pytest.MarkDecorator]:
    """Where a problem runs, and when: converting a network imports torch's compiler."""
    yield pytest.mark.xdist_group(group(name))
    if group(name) == "torch":
        yield pytest.mark.integration
    if is_slow(name, loss):
        yield pytest.mark.slow


def group(name: str) -> str:
    """What runs in one process: an architecture, or all of them whose export is torch's."""
    return "torch" if ARCHITECTURES.get(name).native_format == "torch-export" else name


@pytest.fixture
def one_per_format() -> None:
    """Asks for one problem per native format: what is tested depends on nothing else."""


@pytest.fixture(scope="session")
def problem(request: pytest.FixtureRequest) -> Problem:
    """Every architecture with every loss that it takes."""
    return make_problem(*request.param)


@pytest.fixture
def learner(request: pytest.FixtureRequest) -> Architecture:
    """Every architecture that learns from rows."""
    return ARCHITECTURES.get(request.param)


@cache
def fit(name: str, loss: Loss) -> Estimator:
    return make_problem(name, loss).fit()


@cache
def export(name: str, loss: Loss) -> NativeModel:
    return fit(name, loss).native()


@cache
def write(name: str, loss: Loss, artifact: Artifact) -> dict[str, bytes] | None:
    """Its files, path -> content; None where the flavor cannot hold the model."""
    problem = make_problem(name, loss)
    contract = problem.contract(fit(name, loss).n_scores)
    try:
        return FLAVORS.get(artifact.flavor).write(export(name, loss), contract, artifact.variant)
    except UnsupportedModelError:
        return None


@pytest.fixture(scope="session")
def estimator(problem: Problem) -> Estimator:
    """The problem's fit."""
    return fit(problem.architecture, problem.loss)


@pytest.fixture(scope="session")
def refit(problem: Problem) -> tuple[Estimator, TrainingRows]:
    """A second fit to the same rows, and those rows, which could not be written while it ran."""
    X = problem.train.X.copy()
    X.flags.writeable = False
    rows = TrainingRows(X, problem.train.y, problem.train.weight)
    return problem.fit(rows), rows


@pytest.fixture(scope="session")
def native(problem: Problem) -> NativeModel:
    """The estimator's native model."""
    return export(problem.architecture, problem.loss)


@pytest.fixture(scope="session")
def contract(problem: Problem, estimator: Estimator) -> ModelContract:
    """The contract of a version with this fit."""
    return problem.contract(estimator.n_scores)


@pytest.fixture(scope="session")
def written(problem: Problem) -> dict[Artifact, dict[str, bytes]]:
    """Artifact of full precision -> its files, for every flavor that can hold the estimator.

    Core ML packages are not among them: they take a library that one process alone imports.
    """
    names = [name for name in FLAVORS if "coremltools" not in FLAVORS.get(name).libraries]
    made = {Artifact(n): write(problem.architecture, problem.loss, Artifact(n)) for n in names}
    return {artifact: files for artifact, files in made.items() if files is not None}
