"""The section of the page that links the evidence as files."""

from html import escape
from urllib.parse import quote

from pipelines.recipes.evidence_files import EVIDENCE_FOLDER, MEANINGS
from pipelines.report import Evidence


def files(evidence: Evidence) -> str:
    """Return a link to each Parquet file of the validation's run; empty where there are none.

    The links are MLflow's own addresses of a run's artifacts, relative to that of the page.
    """
    if not evidence.files:
        return ""
    run = evidence.evidence_run
    lines = "".join(_line(run, name, n) for name, n in evidence.files.items())
    fetch = f"mlflow artifacts download -r {run} -a {EVIDENCE_FOLDER}"
    return (
        '<h2 id="evidence-files">Evidence as files</h2>'
        '<div class="grid"><section class="panel wide"><p class="reading">'
        "Parquet, of the out-of-fold predictions: for quantstats, pyfolio or "
        "anything else that reads tables.</p>"
        f'<div class="scroll"><table><thead><tr><th class="text">file</th><th>lines</th>'
        f'<th class="text">what it holds</th></tr></thead><tbody>{lines}</tbody></table></div>'
        f'<p class="remark">All of them: <code>{escape(fetch)}</code></p></section></div>'
    )


def _line(run: str, name: str, n_lines: int) -> str:
    path = f"{EVIDENCE_FOLDER}/{name}.parquet"
    address = f"get-artifact?path={quote(path, safe='')}&amp;run_id={quote(run)}"
    return (
        f'<tr><td class="text"><a href="{address}">{escape(path)}</a></td><td>{n_lines:,}</td>'
        f'<td class="text">{escape(MEANINGS.get(name, ""))}</td></tr>'
    )
