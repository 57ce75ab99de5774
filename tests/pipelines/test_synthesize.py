"""Stage synthesize: marked bars, valid ones, and a report that says how alike they are."""

import polars as pl
import pytest

from pipelines.data.sources import SOURCES, BarQuery
from pipelines.parameters import SourceParameters
from pipelines.synthesize import SynthesisParameters, main, synthesize
from registry.errors import ParameterError, TooLittleHistoryError

SOURCE = SourceParameters(source="synthetic", symbols="AAA,BBB", end="2007-12-31")
QUICK = SynthesisParameters(bars=500, epochs=1, seed=3)


@pytest.mark.slow
@pytest.mark.integration
def test_writes_marked_bars_that_say_so_wherever_they_are_read(installation):
    import mlflow
    from mlflow import MlflowClient

    made = synthesize(SOURCE, QUICK, installation)
    assert made.path.name == "synthetic-seed3.synthetic.parquet"
    metadata = pl.read_parquet_metadata(made.path)
    assert metadata["nautilus_ml_engine.kind"] == "synthetic"
    read = SOURCES.get("files").read(BarQuery(path=made.path))
    assert read.note == "synthetic, made by a GAN from synthetic bars: AAA, BBB"
    assert read.symbols == ("AAA_SYN", "BBB_SYN")
    assert read.frame.equals(made.bars.frame)
    assert (read.interval, len(read.frame)) == ("1d", 1000)
    renamed = made.path.with_name("innocent.parquet")
    made.path.rename(renamed)
    assert SOURCES.get("files").read(BarQuery(path=renamed)).note.startswith("synthetic")
    client = MlflowClient()
    metrics = client.get_run(made.run_id).data.metrics
    assert {f"{side}.{row.fact}" for row in made.facts for side in ("real", "synthetic")} <= set(
        metrics
    )
    text = mlflow.artifacts.load_text(
        f"{client.get_run(made.run_id).info.artifact_uri}/report/stylised_facts.html"
    )
    assert "synthetic, made by a GAN" in text
    assert "<script src" not in text  # plotly.js is inside


@pytest.mark.integration
def test_the_command_writes_where_it_is_told_and_says_so(installation, tmp_path, capsys):
    out = tmp_path / "stress.synthetic.parquet"
    market = ["--source", "synthetic", "--symbols", "AAA", "--end", "2006-12-31"]
    main([*market, "--out", str(out), "--epochs", "1", "--bars", "410"])
    assert out.is_file()
    assert f"wrote 410 synthetic bars to {out}" in capsys.readouterr().out


def test_an_output_that_does_not_say_it_is_synthetic_is_refused(settings):
    wanted = SynthesisParameters(out="prices.parquet")
    with pytest.raises(ParameterError, match=r"ends in \.synthetic\.parquet"):
        synthesize(SOURCE, wanted, settings)
    with pytest.raises(ParameterError, match="epochs=0: expected at least 1"):
        synthesize(SOURCE, SynthesisParameters(epochs=0), settings)
    with pytest.raises(ParameterError, match="bars=400: expected 0 .* more than 400"):
        synthesize(SOURCE, SynthesisParameters(bars=400), settings)


@pytest.mark.integration
def test_too_short_a_history_is_refused_by_name(installation):
    short = SourceParameters(source="synthetic", symbols="AAA", end="2002-12-31")
    with pytest.raises(TooLittleHistoryError, match="AAA needs 1601 bars"):
        synthesize(short, QUICK, installation)
