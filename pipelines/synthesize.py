"""Stage `synthesize`: real bars -> a generator that has learned them -> bars for stress tests.

A WGAN-GP (`pipelines.synthetic.wgan`, `pipelines.synthetic.series_gan`) learns windows of the bars'
channels, all symbols together, each in its own scale. The file it writes is marked as synthetic
in name and metadata, so that source `files` says so wherever the bars go. Symbols are generated
one by one: they do not move together, so the bars are no test of diversification.

Logs how well stylised facts are met, real against synthetic, as metrics and as one HTML page.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines import progress
from pipelines.architectures import FitContext
from pipelines.data.bars import TIMESTAMP, Bars, check_bars, parse_interval
from pipelines.data.sources import SOURCES
from pipelines.data.sources.marks import SUFFIX, synthetic_metadata
from pipelines.parameters import SourceParameters, described, parse
from pipelines.stage import exit_with, log_metrics, platform_settings, say_what_run_is, stage_run
from pipelines.synthetic import series_gan, stylised_facts, stylised_report
from pipelines.synthetic.bar_channels import Channels, bars_of, channel_names, channels_of
from pipelines.synthetic.series_gan import WINDOW, SeriesGan
from pipelines.synthetic.stylised_facts import Comparison
from pipelines.synthetic.wgan import WganPlan
from registry.errors import ParameterError, TooLittleHistoryError
from registry.settings import PlatformSettings

MODEL_ID = "synthetic_bars"
"""MLflow experiment of the stage's runs."""

MOST_WINDOWS = 4000
"""Most real windows per epoch of the critic, evenly spaced, because neighbours overlap."""

BATCH_SIZE, LEARNING_RATE = 64, 1e-3
NAME_ENDING = "_SYN"
"""Ending of a synthetic symbol, after the name of the real one whose scale it has."""


@dataclass(frozen=True, slots=True)
class SynthesisParameters:
    """What to write."""

    out: str = described(
        "", "file ending in .synthetic.parquet; empty means below DATA_DIR", is_path=True
    )
    bars: int = described(0, "bars per symbol; 0 means as many as the real ones")
    epochs: int = described(15, "passes of the critic over the real windows")
    seed: int = described(0, "seed of every random choice")


GROUPS = (SourceParameters, SynthesisParameters)


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What a run made."""

    run_id: str
    path: Path
    bars: Bars
    facts: tuple[Comparison, ...]


def synthesize(
    source: SourceParameters, wanted: SynthesisParameters, settings: PlatformSettings
) -> Synthesis:
    """Learn the source's bars, write synthetic ones, and report how alike they are.

    Raises:
        ParameterError: `out` does not say that it is synthetic, no epochs, or too few bars.
        TooLittleHistoryError: a symbol with fewer bars than the facts need.
        MLEngineError: bars that cannot be read.
    """
    import mlflow

    path = _path(wanted, source, settings)
    if wanted.epochs == 0:
        raise ParameterError("epochs", 0, "at least 1")
    if 0 < wanted.bars <= stylised_facts.LEAST_PIECE:
        expected = f"0 for as many as the real ones, or more than {stylised_facts.LEAST_PIECE}"
        raise ParameterError("bars", wanted.bars, expected)
    with (
        stage_run("synthesize", MODEL_ID, source, wanted) as run_id,
        progress.part("synthesize"),
    ):
        real = _read(source, wanted, settings)
        channels = _channels(real)
        context = FitContext("synthesize", report=lambda e, m: log_metrics(m, step=e), notice=print)
        plan = WganPlan(wanted.epochs, BATCH_SIZE, LEARNING_RATE, 1)
        with progress.part("", 0.0, 0.9):
            gan = series_gan.fit(_windows(list(channels.values())), plan, wanted.seed, context)
        note = f"synthetic, made by a GAN from {real.source} bars: {', '.join(real.symbols)}"
        made = _generate(gan, channels, real, note, wanted)
        _write(path, made, real, wanted)
        ours = {s: c.values[:, 0] for s, c in channels.items()}
        theirs = {s.symbol: np.diff(np.log(s.close)) for s in made.series()}
        facts = stylised_facts.compare(list(ours.values()), list(theirs.values()))
        log_metrics({f"real.{row.fact}": row.real for row in facts})
        log_metrics({f"synthetic.{row.fact}": row.synthetic for row in facts})
        log_metrics({"facts_met": sum(row.is_met for row in facts), "facts": len(facts)})
        page = stylised_report.render(note, facts, ours, theirs)
        mlflow.log_text(page, "report/stylised_facts.html")
        mlflow.log_artifact(str(path), "bars")
        mlflow.set_tag("data_note", note)
        say_what_run_is(f"synthesize {path.name}", _account(path, note, facts))
    return Synthesis(run_id, path, made, tuple(facts))


def _path(
    wanted: SynthesisParameters, source: SourceParameters, settings: PlatformSettings
) -> Path:
    if not wanted.out:
        name = f"{source.source}-seed{wanted.seed}{SUFFIX}"
        return settings.data_dir / "synthetic" / name
    if not wanted.out.endswith(SUFFIX):
        expected = f"a path that ends in {SUFFIX}, so that nobody takes the bars for real ones"
        raise ParameterError("out", wanted.out, expected)
    return Path(wanted.out).absolute()


def _read(
    source: SourceParameters, wanted: SynthesisParameters, settings: PlatformSettings
) -> Bars:
    query = replace(source.query(wanted.seed), platform=settings)
    return SOURCES.get(source.source).read(query)


def _channels(real: Bars) -> dict[str, Channels]:
    """Return the channels of every symbol.

    Raises:
        TooLittleHistoryError: too few bars to cut four pieces with twenty sums of twenty bars.
    """
    series = list(real.series())
    needed = 1 + stylised_facts.LEAST_RETURNS
    for one in series:
        if len(one) < needed:
            raise TooLittleHistoryError(one.symbol, needed, len(one), "leave the symbol out")
    names = channel_names(series)
    return {one.symbol: channels_of(one, names) for one in series}


def _windows(channels: Sequence[Channels]) -> NDArray[np.float64]:
    """Return windows of all symbols, (n, WINDOW, n_channels), at most `MOST_WINDOWS`."""
    every = np.concatenate(
        [np.lib.stride_tricks.sliding_window_view(c.gaussianised, WINDOW, axis=0) for c in channels]
    )
    chosen = np.linspace(0, len(every) - 1, min(len(every), MOST_WINDOWS)).astype(np.intp)
    return every[chosen].transpose(0, 2, 1)


def _generate(
    gan: SeriesGan,
    channels: dict[str, Channels],
    real: Bars,
    note: str,
    wanted: SynthesisParameters,
) -> Bars:
    parts = []
    first_bar = {series.symbol: int(series.timestamp[0]) for series in real.series()}
    for place, (symbol, learned) in enumerate(channels.items()):
        n_bars = wanted.bars or len(learned.values)
        state = np.random.SeedSequence([wanted.seed, place]).generate_state(1)
        drawn = gan.series(n_bars, int(state[0]))
        times = _times(np.datetime64(first_bar[symbol], "us"), real.interval, n_bars)
        frame = bars_of(learned, drawn).with_columns(
            pl.lit(symbol + NAME_ENDING).alias("symbol"),
            pl.Series("timestamp", times).dt.replace_time_zone("UTC").cast(TIMESTAMP),
        )
        parts.append(frame)
    frame, _ = check_bars(pl.concat(parts), policy="strict", where="synthesize", adjustments=None)
    return Bars(frame, real.interval, real.price_basis, MODEL_ID, note)


def _times(first: np.datetime64, interval: str, n: int) -> NDArray[np.datetime64]:
    """Return bar times from the first real one on; weekdays only for daily bars."""
    step = parse_interval(interval)
    if step != timedelta(days=1):
        return np.asarray(first + np.arange(n) * np.timedelta64(step))
    days = np.busday_offset(first.astype("datetime64[D]"), np.arange(n), roll="forward")
    return np.asarray(days, dtype="datetime64[us]")


def _write(path: Path, made: Bars, real: Bars, wanted: SynthesisParameters) -> None:
    """Write the columns that the bars have, with the marks of a synthetic file."""
    facts = {
        "seed": str(wanted.seed),
        "epochs": str(wanted.epochs),
        "interval": made.interval,
        "price_basis": made.price_basis,
        "learned_from_sha256": real.digest(),
    }
    known = [c for c in made.frame.columns if made.frame[c].null_count() < len(made.frame)]
    path.parent.mkdir(parents=True, exist_ok=True)
    made.frame.select(known).write_parquet(path, metadata=synthetic_metadata(made.note, facts))


def _account(path: Path, note: str, facts: Sequence[Comparison]) -> str:
    missed = [row.fact for row in facts if not row.is_met]
    verdict = f"not met: {', '.join(missed)}" if missed else "every fact is met"
    return f"{note}. File {path.name}; {len(facts) - len(missed)} of {len(facts)} facts, {verdict}."


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    source, wanted = parse(argv, __doc__, *GROUPS)
    done = synthesize(source, wanted, platform_settings())
    for row in done.facts:
        print(
            f"{row.fact}: real {row.real:.3f} ({row.low:.3f} to {row.high:.3f}), "
            f"synthetic {row.synthetic:.3f}: {'met' if row.is_met else 'not met'}"
        )
    print(f"wrote {len(done.bars.frame):,} synthetic bars to {done.path}")
    print(f"run {done.run_id}", flush=True)


if __name__ == "__main__":
    exit_with(main)
