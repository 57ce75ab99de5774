"""The head of the page: what was validated, on which data, and the numbers one looks at first."""

from collections.abc import Iterator
from html import escape

from pipelines.report import Evidence
from pipelines.report.verdict import SAID, lock_names, shut_by

SYNTHETIC = "synthetic"
HEADLINES: tuple[tuple[str, str, str], ...] = (
    ("net_sharpe_1x", "net Sharpe, annualised", ".2f"),
    ("net_return_per_year", "net return per year", ".1%"),
    ("max_drawdown", "largest drawdown", ".1%"),
    ("deflated_sharpe", "deflated Sharpe (probability)", ".1%"),
    ("n_trials", "recipes tried on these data", ".0f"),
    ("choice_loss", "winners that lose in the other half", ".1%"),
    ("break_even_cost", "break-even cost per turnover", ".3%"),
    ("qlike", "QLIKE", ".4f"),
    ("qlike_ewma", "QLIKE of EWMA(0.94)", ".4f"),
    ("dm_t_ewma", "Diebold-Mariano t against EWMA", ".1f"),
    ("bias_ratio", "realised / forecast", ".3f"),
    ("mase", "MASE", ".3f"),
    ("log_loss", "log loss", ".4f"),
    ("log_loss_prior", "log loss of the prior", ".4f"),
    ("t_log_loss", "t of log loss against the prior", ".1f"),
    ("t_direction", "t of direction against its prior", ".1f"),
    ("brier", "Brier score", ".4f"),
    ("accuracy", "accuracy", ".1%"),
    ("ece", "calibration error (ECE)", ".2%"),
    ("interval_coverage", "coverage of the interval", ".1%"),
    ("r_squared", "out-of-fold R²", ".3f"),
    ("rmse", "RMSE", ".4g"),
)
MAX_TILES = 12


def header(evidence: Evidence) -> str:
    """Return model, recipe, data and the state of the locks."""
    contract, data = evidence.contract, evidence.contract.data
    which = f"version {evidence.number}" if evidence.number is not None else "candidate"
    ahead = f", {escape(contract.horizon)} ahead" if contract.horizon else ""
    bars = f" on {escape(contract.interval)} bars" if contract.interval else ""
    features = f"{len(contract.feature_names)} features"
    if contract.feature_set:
        features += f" of {escape(contract.feature_set)}"
    window = f", window {contract.window}" if contract.window > 1 else ""
    unit = "bars" if contract.interval else "rows"
    return (
        '<header><div class="in"><div class="over">Nautilus ML Engine · validation report</div>'
        f"<h1>{escape(contract.model_id)} <small>{which}</small></h1>"
        f'<p class="lead">{escape(contract.template)} by {escape(contract.architecture)}'
        f"{ahead}{bars}; {features}{window}; {_symbols(contract.symbols)}"
        f"{data.n_bars:,} {unit} from {escape(data.source)}, {escape(data.span)}</p>"
        f'<div class="badges">{"".join(_badges(evidence))}</div></div></header>'
    )


def _badges(evidence: Evidence) -> Iterator[str]:
    for lock in lock_names(evidence):
        lines, pending = shut_by(evidence, lock)
        state = "shut" if lines else "open so far" if pending else "open"
        yield _badge("bad" if lines else "good", f"{SAID[lock]} {state}")
    data = evidence.contract.data
    if SYNTHETIC in (data.source, data.note.lower()) or SYNTHETIC in data.note.lower():
        yield _badge("warn", "synthetic data: no market ever traded like this")
    if data.note and data.note.lower() != SYNTHETIC:
        yield _badge("warn", data.note)
    yield _badge("dull", f"data sha256 {data.sha256[:12]}")
    yield _badge("dull", f"commit {evidence.contract.git_commit[:10]}")


def _badge(look: str, text: str) -> str:
    return f'<span class="badge {look}">{escape(text)}</span>'


def tiles(evidence: Evidence) -> str:
    """Return the template's first numbers, at most a dozen."""
    known = [(t, s, evidence.metrics[n]) for n, t, s in HEADLINES if n in evidence.metrics]
    boxes = "".join(
        f'<div class="tile"><b>{value:{spec}}</b><span>{escape(text)}</span></div>'
        for text, spec, value in known[:MAX_TILES]
    )
    return f'<div class="tiles">{boxes}</div>' if boxes else ""


def _symbols(symbols: tuple[str, ...]) -> str:
    if not symbols:
        return ""
    if len(symbols) > 8:
        return f"{len(symbols)} symbols, "
    return f"{escape(', '.join(symbols))}; "
