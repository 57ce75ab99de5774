"""What a person reads about a version in the MLflow UI: its tags and one paragraph."""

from registry.contract import ModelContract
from registry.gates import Record, refusals


def version_tags(contract: ModelContract, record: Record) -> dict[str, str]:
    """Return the tags that make a version readable in the MLflow UI."""
    serve = refusals(record, "serve", contract.template)
    trade = refusals(record, "trade", contract.template)
    failed = sorted({row.gate for row in record if not row.passed})
    return {
        "template": contract.template,
        "architecture": contract.architecture,
        "trained_until": contract.trained_until,
        "data_sha256": contract.data.sha256,
        "feature_fingerprint": contract.feature_fingerprint,
        "may_trade": "false" if trade else "true",
        "serve_lock": "shut" if serve else "open",
        "validation": (
            f"{sum(row.passed for row in record)} of {len(record)} gates passed"
            + (f"; not passed: {', '.join(failed)}" if failed else "")
        ),
    }


def describe(contract: ModelContract, record: Record) -> str:
    """Return one paragraph: what the version is, from which data, and the verdict."""
    tags = version_tags(contract, record)
    data = contract.data
    note = f" ({data.note})" if data.note else ""
    return (
        f"{contract.template} by {contract.architecture}: {contract.horizon} ahead on "
        f"{contract.interval} bars of {len(contract.symbols)} symbols, "
        f"{len(contract.feature_names)} features of {contract.feature_set}. "
        f"Made from {data.n_bars} bars of {data.source}{note}, {data.start} to {data.end}, "
        f"trained until {contract.trained_until}. "
        f"Serve lock {tags['serve_lock']}, may trade: {tags['may_trade']}; {tags['validation']}."
    )
