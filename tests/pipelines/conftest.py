"""What the tests of pipelines share: seeded bars, and an installation with versions made in it.

Making a version takes seconds, so `made` makes three per test run (pytest-xdist workers share
them) and the tests read them. A test that makes runs or versions of its own takes `installation`.
"""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
from filelock import FileLock

from pipelines import convert, main, train, validate
from pipelines.data.bars import SCHEMA, TIMESTAMP, Bars, BarSeries
from pipelines.parameters import RecipeParameters, SourceParameters
from pipelines.recipes.candidate import Candidate, load_candidate
from registry.artifacts import ArtifactCache
from registry.database import open_engine
from registry.settings import PlatformSettings
from registry.version_files import VersionFiles

DAY = 86_400_000_000


@pytest.fixture(scope="session")
def make_series() -> Callable[..., BarSeries]:
    """Factory of one symbol's bars: daily, with volatility that clusters; see `seed`."""

    def make(n: int, symbol: str = "AAA", seed: int = 0, closes_only: bool = False) -> BarSeries:
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal(n)
        wave = 1 + 0.8 * np.sin(np.arange(n) / 60 + seed)
        close = 100 * np.exp(np.cumsum(0.012 * wave * noise))
        opened = np.concatenate(([100.0], close[:-1])) * np.exp(0.004 * rng.standard_normal(n))
        high = np.maximum(opened, close) * np.exp(0.006 * wave * rng.random(n))
        low = np.minimum(opened, close) * np.exp(-0.006 * wave * rng.random(n))
        volume = 1e6 * np.exp(0.3 * rng.standard_normal(n))
        stamp = np.arange(n, dtype=np.int64) * DAY
        unknown = np.full(n, np.nan)
        if closes_only:
            return BarSeries(
                symbol, stamp, unknown, unknown, unknown, close, unknown, unknown, unknown
            )
        return BarSeries(symbol, stamp, opened, high, low, close, volume, unknown, unknown)

    return make


@pytest.fixture(scope="session")
def make_bars(make_series: Callable[..., BarSeries]) -> Callable[..., Bars]:
    """Factory of a checked frame of several symbols; symbol k starts `stagger * k` days late."""

    def make(
        symbols: tuple[str, ...] = ("AAA", "BBB"),
        n: int = 400,
        stagger: int = 0,
        closes_only: bool = True,
    ) -> Bars:
        frames = []
        for k, symbol in enumerate(symbols):
            series = make_series(n, symbol, k, closes_only)
            columns = {c: getattr(series, c) for c in SCHEMA if c != "symbol"}
            frame = pl.DataFrame({"symbol": [symbol] * n} | columns)
            frames.append(frame.with_columns(pl.col("timestamp") + stagger * k * DAY))
        frame = pl.concat(frames).with_columns(pl.col("timestamp").cast(TIMESTAMP))
        return Bars(frame.fill_nan(None).cast(SCHEMA), "1d", "adjusted", "test")

    return make


# Installations ---------------------------------------------------------------------------------

SEED = 3
FIT = json.dumps({"rounds": 20, "nthread": 1})
SOURCE = SourceParameters(source="synthetic", symbols="AAA,BBB", end="2003-12-31")
WANTED = RecipeParameters(parameters=FIT, seed=SEED)
ONNX = ("--flavors", "onnx")
"""Core ML takes seconds to import; its own tests convert to it."""
LINE = (
    *("--source", "synthetic", "--symbols", "AAA,BBB", "--end", "2003-12-31"),
    *("--parameters", FIT, "--seed", str(SEED)),
)
BY_HAND = "by_hand"
Enter = Callable[[pytest.MonkeyPatch, PlatformSettings], None]


@dataclass(frozen=True, slots=True)
class Made:
    """An installation in which versions were made, to be read only.

    `said` is what each command printed: `main` and `signals` (stage main of the two templates,
    asking for production), `train`, `validate`, `convert` (the same recipe as `main`, one stage
    after the other, as model `by_hand`).
    """

    settings: PlatformSettings
    said: dict[str, str]

    def run_of(self, stage: str) -> str:
        """Id of the run that `train` or `validate` named in its last line."""
        return self.said[stage].split()[-1]


def _run(stage: Callable[[list[str]], None], *line: str) -> str:
    with redirect_stdout(io.StringIO()) as said:
        stage(list(line))
    return said.getvalue()


def _make_versions() -> dict[str, str]:
    said = {"main": _run(main.main, *LINE, *ONNX, "--promote", "true")}
    signals = ("--template", "trading_signals", "--promote", "true")
    said["signals"] = _run(main.main, *LINE, *ONNX, *signals)
    said["train"] = _run(train.main, *LINE, "--model_name", BY_HAND)
    said["validate"] = _run(validate.main, "--train_run", said["train"].split()[-1])
    said["convert"] = _run(convert.main, "--validate_run", said["validate"].split()[-1], *ONNX)
    return said


@pytest.fixture(scope="session")
def shared_installation(
    tmp_path_factory: pytest.TempPathFactory,
    worker_id: str,
    new_installation: Callable[[Path], PlatformSettings],
    enter: Enter,
) -> Made:
    root = tmp_path_factory.getbasetemp()
    place = (root if worker_id == "master" else root.parent) / "made"
    record = place / "said.json"
    with FileLock(f"{place}.lock"):
        if not record.exists():
            shutil.rmtree(place, ignore_errors=True)
            settings = new_installation(place)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(place)
                enter(patch, settings)
                record.write_text(json.dumps(_make_versions()))
    uri = f"sqlite:///{place}/mlflow.db"
    settings = PlatformSettings(data_dir=place, database_url="", mlflow_tracking_uri=uri)
    return Made(settings, json.loads(record.read_text()))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process run what reads the shared installation: no other has to wait for it."""
    for item in items:
        if "shared_installation" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("shared_installation"))


@pytest.fixture
def made(shared_installation: Made, enter: Enter, monkeypatch: pytest.MonkeyPatch) -> Made:
    """The shared installation, entered by this test."""
    enter(monkeypatch, shared_installation.settings)
    return shared_installation


@pytest.fixture
def made_engine(made: Made) -> Iterator[sa.Engine]:
    """The shared installation's engine database."""
    engine = open_engine(made.settings)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def loaded(
    shared_installation: Made, enter: Enter, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Candidate]:
    """Factory: the candidate of a model's train run, loaded once per process; read only."""
    held: dict[str, Candidate] = {}

    def load(model_id: str) -> Candidate:
        if model_id not in held:
            with pytest.MonkeyPatch.context() as patch:
                enter(patch, shared_installation.settings)
                run_id = train_run(model_id)
                folder = tmp_path_factory.mktemp(model_id)
                held[model_id] = load_candidate(run_id, shared_installation.settings, folder)
        return held[model_id]

    return load


def train_run(model_id: str) -> str:
    """Id of the one train run of a model."""
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name(model_id)
    runs = client.search_runs([found.experiment_id], "tags.stage = 'train'")
    return str(runs[0].info.run_id)


@pytest.fixture
def candidate(loaded: Callable[[str], Candidate]) -> Candidate:
    """The volatility candidate of stage main, rebuilt from its train run; read only."""
    return loaded("volatility_forecast")


@pytest.fixture
def version_files(made: Made, made_engine: sa.Engine) -> VersionFiles:
    """Version 1 of the volatility model."""
    return ArtifactCache(made.settings, made_engine).fetch("volatility_forecast", 1)
