"""A version on the panel feature set, from bars to an answer."""

import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest

from pipelines import main
from pipelines.data.features import FEATURE_SETS, compute_all
from pipelines.data.sources import SOURCES, BarQuery
from pipelines.data.sources.store import BarStore
from registry.artifacts import ArtifactCache
from registry.database import open_engine
from serving.forms import OnlineStore, gather
from serving.history import History
from serving.loading import load
from serving.schemas import PredictRequest
from serving.steps import Steps

pytestmark = [pytest.mark.slow, pytest.mark.integration]

MODEL = "volatility_forecast"
SYMBOLS = tuple(f"S{i:02}" for i in range(10))
LINE = (
    *("--source", "synthetic", "--symbols", ",".join(SYMBOLS), "--end", "2003-12-31"),
    *("--parameters", json.dumps({"rounds": 5, "nthread": 1}), "--feature_set", "cross_section"),
)


def test_a_version_on_the_universe_passes_its_checks_and_answers_for_one_symbol(
    installation, tmp_path
):
    with redirect_stdout(io.StringIO()):
        main.main([*LINE, "--seed", "3"])
    engine = open_engine(installation)
    files = ArtifactCache(installation, engine).fetch(MODEL, 1)
    engine.dispose()
    gates = {row.gate: row for row in files.record}
    assert gates["causality"].passed and gates["feature_parity"].passed
    *_, version = load(files, MODEL, 1, is_measured=False)

    bars = SOURCES.get("synthetic").read(BarQuery(symbols=SYMBOLS, end=None, seed=3))
    history = History(BarStore(tmp_path / "held"))
    history.append(bars.frame, "1d", "adjusted")
    request = PredictRequest(model=MODEL, symbols=["S04"])
    batch = gather(request, version, OnlineStore(history, Steps()), 10)
    assert batch.keys == ("S04",) and batch.missing == ()
    whole = compute_all(FEATURE_SETS.get("cross_section"), list(bars.series()))
    np.testing.assert_allclose(batch.X[0], whole[4][-1], rtol=1e-5, atol=1e-5)
    assert np.isfinite(version.options[0].predictor(batch.X)).all()
