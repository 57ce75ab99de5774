"""What a person reads in the MLflow UI about a model and its versions: tags and a few lines."""

from collections.abc import Collection

from registry.contract import ModelContract
from registry.flavors import Artifact
from registry.gates import Record, refusals

DIGEST_LETTERS = 12


def version_tags(
    contract: ModelContract, record: Record, carried: Collection[Artifact]
) -> dict[str, str]:
    """Return the tags that make a version readable in the MLflow UI.

    Digests are shortened to what tells two apart; the contract, a file of the version, has them
    whole.
    """
    serve = refusals(record, "serve", contract.template, carried=carried)
    trade = refusals(record, "trade", contract.template)
    judged = [row for row in record if row.applicable]
    failed = sorted({row.gate for row in judged if not row.passed})
    return {
        "template": contract.template,
        "architecture": contract.architecture,
        "trained_until": contract.data.shown(contract.trained_until),
        "data_sha256": contract.data.sha256[:DIGEST_LETTERS],
        "feature_fingerprint": contract.feature_fingerprint[:DIGEST_LETTERS],
        "may_trade": "false" if trade else "true",
        "serve_lock": "shut" if serve else "open",
        "validation": (
            f"{sum(row.passed for row in judged)} of {len(judged)} gates passed"
            + (f"; not passed: {', '.join(failed)}" if failed else "")
        ),
    }


def model_parameters(contract: ModelContract) -> dict[str, str]:
    """Return the facts that tell logged models apart in MLflow's list of models."""
    return {
        "architecture": contract.architecture,
        "feature_set": contract.feature_set,
        "horizon": contract.horizon,
        "interval": contract.interval,
        "trained_until": contract.data.shown(contract.trained_until),
        **{name: str(value) for name, value in contract.parameters.items()},
    }


def describe(contract: ModelContract, record: Record, carried: Collection[Artifact]) -> str:
    """Describe a version as Markdown: its model, its data, its verdict."""
    tags = version_tags(contract, record, carried)
    data = contract.data
    note = f" ({data.note})" if data.note else ""
    refused = [f"    - {row.line()}" for row in record if row.applicable and not row.passed]
    return "\n".join(
        (
            f"{contract.template} by {contract.architecture}: {_scope(contract)}"
            f"{len(contract.feature_names)} features of {contract.feature_set}.",
            "",
            f"- Data: {data.n_bars:,} {'bars' if contract.interval else 'rows'} of {data.source}"
            f"{note}, {data.span}; fitted on labels until "
            f"{tags['trained_until']}",
            f"- Serve lock {tags['serve_lock']}, may trade: {tags['may_trade']}",
            f"- {tags['validation'].partition(';')[0]}" + (", not passed:" if refused else ""),
            *refused,
        )
    )


def _scope(contract: ModelContract) -> str:
    if not contract.interval:
        return ""
    n_symbols = len(contract.symbols)
    return f"{contract.horizon} ahead on {contract.interval} bars of {n_symbols} symbols, "


def describe_model(contract: ModelContract) -> str:
    """Describe a registered model and the meaning of its aliases as Markdown."""
    return (
        f"Versions of template `{contract.template}`. Serving answers with the version under alias "
        "**production**; **staging** is the newest candidate, whether it passed its gates or not. "
        "Promote through the engine, which asks the gates. When somebody moves an alias here by "
        "hand, serving follows only to a version whose serve lock is open, and the move is "
        "recorded as made outside of the engine."
    )
