"""Locks and gates: the decisions of the record, the refusing gates first."""

from dataclasses import dataclass
from html import escape

from pipelines.report import Evidence
from registry.gates import COMMON, GATES, GateRow, Lock, refusals

MEASURED_BY_CONVERT = ("golden_answers", "parity.")
MISSING = "missing from the record"
SAID = {"serve": "Serve lock", "trade": "Trade lock"}
MEANS = {
    "serve": "whether an alias may point at this version",
    "trade": "whether it may emit anything but HOLD",
}


def shut_by(evidence: Evidence, lock: Lock) -> tuple[list[str], list[str]]:
    """Return the lines that keep a lock shut, and the gates that only `convert` can measure."""
    champion = evidence.champion if lock == "serve" else None
    lines = refusals(evidence.record, lock, evidence.contract.template, champion)
    pending = [] if evidence.number is not None else [line for line in lines if _is_pending(line)]
    return [line for line in lines if line not in pending], pending


def has_trade_lock(evidence: Evidence) -> bool:
    """Whether the template declares gates of the trade lock, that is: answers with an action."""
    name = evidence.contract.template
    return name in GATES and bool(GATES.get(name).trade)


def lock_names(evidence: Evidence) -> tuple[Lock, ...]:
    """Return the locks that apply."""
    return ("serve", "trade") if has_trade_lock(evidence) else ("serve",)


def locks(evidence: Evidence) -> str:
    """Return one box per lock, with a line per refusing gate."""
    boxes = "".join(_lock(evidence, lock) for lock in lock_names(evidence))
    return f'<div class="grid">{boxes}</div>'


def _lock(evidence: Evidence, lock: Lock) -> str:
    lines, pending = shut_by(evidence, lock)
    state = "shut" if lines else "open" if not pending else "open so far"
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    later = ", ".join(escape(line.partition(":")[0]) for line in pending)
    waits = f'<p class="remark">Still to be measured by convert: {later}.</p>' if later else ""
    wide = "" if has_trade_lock(evidence) else " wide"
    return (
        f'<div class="lock {"shut" if lines else "open"}{wide}"><h3>{SAID[lock]}: {state}</h3>'
        f'<p class="reading">{MEANS[lock]}</p>'
        f"{f'<ul>{listed}</ul>' if lines else ''}{waits}</div>"
    )


@dataclass(frozen=True, slots=True)
class GateLine:
    """A row of the record for people; `look` is good, bad or dull."""

    look: str
    verdict: str
    gate: str
    lock: str
    value: str
    needs: str
    note: str


def gate_lines(evidence: Evidence) -> tuple[GateLine, ...]:
    """Return every row of the record: refused first, then not applicable, then passed."""
    ordered = sorted(evidence.record, key=lambda row: (row.passed, not row.applicable))
    return tuple(_line(row, evidence) for row in ordered)


def _line(row: GateRow, evidence: Evidence) -> GateLine:
    look, verdict = ("good", "✓ passed") if row.passed else ("bad", "✗ refused")
    if not row.applicable:
        look, verdict = "dull", "not applicable"
    against = f" against version {row.against}" if row.against is not None else ""
    lock, note = _locks_of(row.gate, evidence), row.note + against
    return GateLine(look, verdict, row.gate, lock, row.measured, row.needed, note)


def gates_table(evidence: Evidence) -> str:
    """Return the gates as a table of the page."""
    ordered = gate_lines(evidence)
    lines = "".join(_row(line) for line in ordered)
    n_passed = sum(row.passed for row in evidence.record)
    return (
        '<section class="panel wide" id="gates" style="margin-top:14px"><h3>Gates: '
        f"{n_passed} of {len(ordered)} passed</h3>"
        '<p class="reading">A gate that could not be computed refuses; only a template can declare '
        "one not applicable. Values were recomputed by validate, not taken from training.</p>"
        '<div class="scroll" style="max-height:none"><table class="gates"><thead><tr><th>verdict'
        "</th><th>gate</th><th>lock</th><th>value</th><th>needs</th><th>measured how</th></tr>"
        f"</thead><tbody>{lines}</tbody></table></div></section>"
    )


def _row(line: GateLine) -> str:
    return (
        f'<tr><td><span class="pill {line.look}">{line.verdict}</span></td>'
        f'<td class="mono">{escape(line.gate)}</td><td>{line.lock}</td>'
        f'<td class="value">{escape(line.value)}</td><td class="value">{escape(line.needs)}</td>'
        f"<td>{escape(line.note)}</td></tr>"
    )


def _locks_of(gate: str, evidence: Evidence) -> str:
    """Return the lock that asks for a gate; a row that none asks for only informs."""
    name = evidence.contract.template
    declared = GATES.get(name) if name in GATES else None
    trade = {r.gate for r in declared.trade} if declared else set()
    serve = {r.gate for r in (*COMMON.serve, *(declared.serve if declared else ()))}
    is_comparison = gate.startswith("champion.") and evidence.champion is not None
    if gate in trade:
        return "both" if gate in serve else "trade"
    if gate in serve or gate.startswith("parity.") or is_comparison:
        return "serve"
    return "-"


def _is_pending(line: str) -> bool:
    return line.startswith(MEASURED_BY_CONVERT) and line.endswith(MISSING)
