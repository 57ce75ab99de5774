"""Answers of the server, and the keywords of a recipe.

Written by `python -m serving.client_answers`, not by hand. Names that a newer server adds to a
`Literal` come through as text.
"""

from datetime import datetime
from typing import Any, Literal, TypedDict

from pydantic import Field

from nautilus_ml_client.answer import Answer


class Recipe(TypedDict, total=False):
    """Parameters of the entry point `main`; what is absent has its default."""

    template: str
    """Model type."""

    architecture: str
    """Algorithm; empty means the template's first."""

    feature_set: str
    """Feature set; empty means the template's own."""

    window: int
    """Steps fed to the model; 0 means the architecture's own."""

    horizon: int
    """Bars ahead; 0 means the template's own."""

    first_test: str
    """Start of the first test fold; empty means 10 years in, or half the span if short."""

    recent_bars: int
    """Fit on the newest n bar times only; 0 means on all."""

    parameters: dict[str, Any]
    """JSON object of architecture parameters to change."""

    options: dict[str, Any]
    """JSON object of template options to change (docs/templates.md)."""

    seed: int
    """Seed of every random choice."""

    source: str
    """Where the data come from: sample, files, store, synthetic, data (uploaded)."""

    path: str
    """With source data: the name under which they were uploaded."""

    columns: str
    """Our_name=file_name or our_name=position, comma separated."""

    symbols: str
    """Comma separated; empty means all that the source has."""

    start: str
    """First bar, ISO date or time; empty means the earliest."""

    end: str
    """Last bar, ISO date or time; empty means the newest."""

    interval: str
    """1d, 1h, ...; empty means read it off the data."""

    timezone: str
    """IANA zone of times written without one."""

    date_order: str
    """Day-first or month-first, where dates like 01/02/2024 leave it open."""

    policy: str
    """Strict refuses bad bars, repair corrects and reports them."""

    splits: str
    """Splits to adjust for: JSON list of {symbol, date, ratio}, or a .json or .csv file of them."""

    jumps: str
    """Steps of a price that look like splits: refuse or accept."""

    price_scale: str
    """Factor of all prices, such as 0.01, or SYMBOL=0.01,...."""

    stubs: str
    """Bars outside the session: keep, merge or drop."""

    challenge_bars: int
    """Newest bar times for the comparison, seen by neither fit."""

    paths: str
    """Combinatorial paths to report, groups,tested such as 6,2; empty means none."""

    flavors: str
    """Flavors to write, separated by commas; empty means all."""

    compress: str
    """Compressed variants to write too, separated by commas: int8, palette6, palette4."""


class SearchRequest(TypedDict, total=False):
    """Parameters of a search; what is absent has the default of the stage `tune`."""

    model_id: str
    """Model that the winner may become; absent: the template's name."""

    workers: int
    """Jobs that search this study side by side; 1 unless said."""

    model_type: str
    """As `template`."""

    search_space: dict[str, Any]
    """An earlier form of `space`: `model_types`, `features` (price, volume, technical, sentiment),
    `hyperparameters` (name to values).
    """

    validation_metric: str
    """As `metric`."""

    max_trials: int
    """As `trials`."""

    hardware: str
    """Has no effect; see `ignored`."""

    target_hardware: str
    """Has no effect; see `ignored`."""

    production_ready: bool
    """Has no effect here."""

    source: str
    """Where the data come from: sample, files, store, synthetic, data (uploaded)."""

    path: str
    """File, folder or glob (files), bars folder (store), name of an upload (data)."""

    columns: str
    """Our_name=file_name or our_name=position, comma separated."""

    symbols: str
    """Comma separated; empty means all that the source has."""

    start: str
    """First bar, ISO date or time; empty means the earliest."""

    end: str
    """Last bar, ISO date or time; empty means the newest."""

    interval: str
    """1d, 1h, ...; empty means read it off the data."""

    timezone: str
    """IANA zone of times written without one."""

    date_order: str
    """Day-first or month-first, where dates like 01/02/2024 leave it open."""

    policy: str
    """Strict refuses bad bars, repair corrects and reports them."""

    splits: str
    """Splits to adjust for: JSON list of {symbol, date, ratio}, or a .json or .csv file of them."""

    jumps: str
    """Steps of a price that look like splits: refuse or accept."""

    price_scale: str
    """Factor of all prices, such as 0.01, or SYMBOL=0.01,...."""

    stubs: str
    """Bars outside the session: keep, merge or drop."""

    template: str
    """Model type."""

    architecture: str
    """Algorithm; empty means the template's first."""

    feature_set: str
    """Feature set; empty means the template's own."""

    window: int
    """Steps fed to the model; 0 means the architecture's own."""

    horizon: int
    """Bars ahead; 0 means the template's own."""

    first_test: str
    """Start of the first test fold; empty means 10 years in, or half the span if short."""

    recent_bars: int
    """Fit on the newest n bar times only; 0 means on all."""

    parameters: dict[str, Any]
    """JSON object of architecture parameters to change."""

    options: dict[str, Any]
    """JSON object of template options to change (docs/templates.md)."""

    seed: int
    """Seed of every random choice."""

    space: dict[str, Any]
    """JSON object of what to search; empty means what is declared."""

    metric: str
    """What to choose by; several, separated by commas, give a front; empty: the template's."""

    sampler: str
    """Tpe, random, grid or cmaes."""

    pruner: str
    """Wilcoxon, halving or none; empty means wilcoxon by a loss, else none."""

    untouched_percent: int
    """Newest share of the decision times that the search does not see."""

    latency_ms: float
    """Longest that a call to the loaded artifact may take, in ms; 0 means no limit."""

    latency_batch: int
    """Rows of the call whose latency is measured."""

    artifact_kb: int
    """Largest artifact, in kB; 0 means no limit."""

    served_columns: str
    """Columns of bars that the server will have, comma separated; empty means all."""

    study: str
    """Name of the study; the same name joins it; empty: made of the rest."""

    trials: int
    """Trials of the study, at most 1,000, pruned ones too."""

    seconds: int
    """Seconds after which this worker begins no trial; 0 means no limit."""

    memory_mb: int
    """Megabytes of this worker; a trial that needs more fails; 0 means no limit."""


class AliasFacts(Answer):
    """Where an alias stands."""

    version: int | None
    generation: int
    """`expected_generation` of the next move."""
    pending: bool
    """Whether a move is under way."""
    outside: int | None
    """Where somebody moved it in MLflow, when that is not followed."""


class UnusualFeature(Answer):
    """A feature far from its training median."""

    feature: str
    """Name."""
    deviations: float
    """Distance from the training median, signed; unit: robust standard deviations."""


class AnomalyAnswer(Answer):
    """How unlike all earlier rows this row is."""

    score: float
    """Larger is more unusual; its unit is the architecture's."""
    is_anomaly: bool | None
    """Whether the score exceeds the threshold; null: there are too few earlier out-of-fold rows
    for the stated rate.
    """
    threshold: float | None
    """Conformal quantile of earlier scores; unit: as the score; null: there are too few earlier
    out-of-fold rows for the stated rate.
    """
    p_value: float | None
    """(1 + earlier rows at least as unusual) / (n + 1); an alarm is a p-value of at most the rate;
    unit: fraction; null: there are too few earlier out-of-fold rows for the stated rate.
    """
    false_alarm_rate: float
    """The stated rate, the option of that name; unit: fraction."""
    move_ratio: float | None
    """Typical size of the next bar's move after scores like this, relative to its usual size in
    units of EWMA volatility; measured on earlier rows in four groups of scores (up to the
    median, 90 %, 99 %, above); unit: ratio; null: there are too few earlier out-of-fold rows
    for the stated rate.
    """
    most_unusual_features: list[UnusualFeature]
    """Up to three features farthest from their training median."""
    as_of: datetime | None
    """Close of the newest bar used; null for rows and texts."""
    history_end: datetime | None
    """Last bar held, or last of `bars`; null without bars."""
    price_basis: str | None
    """Price basis of these bars; null without bars."""


class Gate(Answer):
    """One gate row of a version's record."""

    gate: str
    value: float | str | None
    """A number that is not finite is text."""
    comparison: str
    limit: float | tuple[float, float]
    passed: bool
    applicable: bool
    note: str
    against: int | None
    """The version it was compared with."""


class ArtifactFacts(Answer):
    """One artifact of a version."""

    artifact: str
    files: dict[str, str]
    """Path -> SHA-256."""
    parity: list[Gate]
    """How it compares with native."""


class BarsResponse(Answer):
    """How many bars were kept; they are on disk before this answer is sent."""

    accepted: int
    """New bars, now on disk and used by the next /predict."""
    duplicates: int
    """Bars that were held already with the same values."""
    conflicts: list[str]
    """Bars that were held already with other values; the held ones stay."""
    refused: list[str] = Field(default_factory=list)
    """Bars that cannot be believed and were left out: of a time that has not come, far off the
    bars beside them, or of a new symbol where none is taken. PUT /bars takes them.
    """
    processing_time_ms: float
    request_id: str


class BatchJob(Answer):
    """The job that a large batch became; `results` is where its answers will be."""

    job_id: str
    state: str
    """queued, unless the same request was sent before."""
    entry_point: str
    model_id: str | None
    results: str
    ignored: list[str] = Field(default_factory=list)
    """Of symbols, what was given and is not used."""
    warnings: list[str] = Field(default_factory=list)
    """As in an answer; names beyond ten are counted."""


class ChangedAnswer(Answer):
    """A field of a golden answer, when the version was made and by this code."""

    answer: int
    """Number of the golden answer, from 0."""
    field: str
    """Path of the field, like `interval.lower`."""
    old: Any
    """When the version was made, or as somebody accepted later."""
    new: Any
    """By this code; null where the field is gone."""


class ChangedAnswers(Answer):
    """What this code changes in the answers of a version that serves."""

    version: int
    n_answers: int
    """Golden answers of the version."""
    n_changed: int
    """Those that are different now."""
    examples: list[ChangedAnswer]
    """The first fields that differ."""
    accept: str
    """The command by which a person accepts them."""


class ConfidenceInterval(Answer):
    """A central interval of the portfolio's return over the version's horizon.

    Its ends are quantiles of the version's scenarios, so `lower` is minus the value at risk at
    95.
    """

    lower: float
    upper: float
    level: float
    """Share of the scenarios inside: 0.9."""


class ConflictingOutcome(Answer):
    """An outcome for which another value is held; the held one stays."""

    index: int
    """Place in the request, from 0."""
    model_id: str
    symbol: str
    as_of: datetime
    held: float | str


class ConformalInterval(Answer):
    """A central interval of what will be realised, and which kind of it."""

    lower: float
    """Lower end."""
    upper: float
    """Upper end."""
    level: float
    """Share of outcomes that lie inside; unit: fraction."""
    kind: Literal["split", "adaptive"] | str
    """Which conformal interval, the option `interval`."""


class CorrectionResponse(Answer):
    """What a correction changed; it is on disk, and so is its event, before this answer is sent."""

    correction: str | None
    """Its id, which its event names too; null: nothing was changed."""
    replaced: int
    """Bars held with other values than before."""
    added: int
    """Bars held that were not."""
    removed: int
    """Bars that are held no more."""
    processing_time_ms: float
    request_id: str


class Cpu(Answer):
    """Use of all cores together; 100 is every core busy since the sample before.

    `load_*` are the system's averages of waiting and running threads, not divided by cores.
    """

    percent: float | None
    per_core_percent: list[float]
    n_cores: int
    load_1m: float | None
    load_5m: float | None
    load_15m: float | None


class Curve(Answer):
    """Median milliseconds per call at each batch size, measured here at load."""

    flavor: str
    variant: str
    backend: str
    batch_sizes: list[int]
    latency_ms: list[float]


class DataFacts(Answer):
    """What a name holds."""

    name: str
    kind: str
    """table, texts or bars."""
    format: str
    """Csv or parquet."""
    sha256: str
    """Of the file, as it was sent."""
    n_bytes: int
    n_rows: int
    n_columns: int
    actor: str
    """Id of the key that uploaded it."""
    uploaded_at: datetime
    columns: list[str]


class DataLine(Answer):
    """One name in the list."""

    name: str
    kind: str
    """table, texts or bars."""
    format: str
    """Csv or parquet."""
    sha256: str
    """Of the file, as it was sent."""
    n_bytes: int
    n_rows: int
    n_columns: int
    actor: str
    """Id of the key that uploaded it."""
    uploaded_at: datetime


class DataList(Answer):
    """Every name."""

    data: list[DataLine]


class Deleted(Answer):
    """A version that is gone; its record stays in the event log."""

    model_id: str
    version: int


class Dependency(Answer):
    """One thing this process uses; `ok` is null while it has not been asked yet."""

    ok: bool | None
    detail: str
    """Empty for those who may not read."""
    checked_at: datetime | None = None


class Deployed(Answer):
    """Where the alias stands now."""

    model_id: str
    alias: str
    version: int | None
    """Null: nothing serves under it."""
    generation: int
    """Grows with every move; `expected_generation` of the next."""


class Disk(Answer):
    """The file system that holds DATA_DIR."""

    total_bytes: int
    used_bytes: int
    free_bytes: int
    percent: float


class DriftFacts(Answer):
    """The newest window that was judged."""

    version: int
    window_end: datetime
    verdict: str
    drifted_share: float | None


class ErrorEntry(Answer):
    """What went wrong, in one line."""

    code: str
    message: str
    details: dict[str, Any] | None = None


class EventFacts(Answer):
    """One thing that happened."""

    id: int
    at: datetime
    event: str
    model_id: str | None
    """Null for what belongs to no model: keys, data, bars."""
    version: int | None
    actor: str
    """A key's id, a person or a process."""
    reason: str
    run_id: str | None
    facts: dict[str, Any]


class EventList(Answer):
    """A page of events."""

    model_id: str | None
    """Null: of everything."""
    events: list[EventFacts]
    next_after_id: int | None
    """`after_id` of the next page; null: the last."""


class FrontLine(Answer):
    """One trial of the Pareto front."""

    place: int
    """Its place in the study, from 0."""
    scores: dict[str, float | None]
    """By each metric."""


class Gpu(Answer):
    """One GPU; a field that it does not give is null.

    `utilization_percent` is the share of time in which a kernel ran,
    `memory_utilization_percent` the share in which memory was read or written.
    """

    index: int
    name: str | None
    utilization_percent: float | None
    memory_utilization_percent: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    temperature_celsius: float | None
    power_watts: float | None


class Memory(Answer):
    """Memory of the machine; in a container, of its host. `percent` is what is not available."""

    total_bytes: int
    available_bytes: int
    used_bytes: int
    percent: float
    swap_used_bytes: int


class Network(Answer):
    """All network cards together, since the sample before."""

    received_bytes_per_second: float
    sent_bytes_per_second: float


class ProcessUse(Answer):
    """One of the engine's processes. `cpu_percent` is of one core: two busy threads are 200."""

    pid: int
    role: Literal["serving", "worker"] | str
    is_child: bool
    cpu_percent: float | None
    memory_bytes: int
    n_threads: int


class HardwareSample(Answer):
    """One look at the machine. `at` is wall time; `unread` maps a field that is null to a reason.

    `temperature_celsius` and `power_watts` are the processor's; a GPU has its own.
    """

    at: datetime
    cpu: Cpu | None
    memory: Memory | None
    disk: Disk | None
    network: Network | None
    processes: list[ProcessUse]
    gpus: list[Gpu]
    temperature_celsius: float | None
    power_watts: float | None = None
    neural_engine_percent: float | None = None
    memory_bandwidth_bytes_per_second: float | None = None
    unread: dict[str, str] | None = None


class HistoryPoint(Answer):
    """What is kept of a sample for an hour; null where the sample has null.

    `serving_*` and `worker_*` are sums over the processes of that role on this machine.
    """

    at: datetime
    cpu_percent: float | None
    load_1m: float | None
    memory_percent: float | None
    disk_percent: float | None
    serving_cpu_percent: float | None
    serving_memory_bytes: int | None
    worker_cpu_percent: float | None
    worker_memory_bytes: int | None
    gpu_utilization_percent: list[float | None]
    gpu_memory_used_bytes: list[int | None]


class HardwareUtilization(Answer):
    """Use of the machine: the newest sample, and a point each 5 s (or interval) for an hour."""

    is_sampled: bool
    """HARDWARE_MONITORING."""
    interval_seconds: float
    """MONITORING_INTERVAL."""
    problem: str | None
    """Why there is no new sample."""
    age_seconds: float | None
    """Age of `live`."""
    live: HardwareSample | None
    history: list[HistoryPoint]
    """Oldest first."""


class Health(Answer):
    """State of the process.

    `ready` is true when it answers /predict and /bars. `degraded` means that it answers, but
    somebody must mend something: a dependency does not answer, a model is not served in the
    version that its alias names, or this code gives other answers for a version than when it
    was made. A model of which nothing was promoted yet is none of these.
    """

    status: Literal["ok", "degraded", "starting"] | str
    healthy: bool
    """Whether `status` is ok."""
    live: Literal[True] = True
    ready: bool
    access: str
    """Whether a key is needed."""
    dependencies: dict[str, Dependency]
    loaded: dict[str, int]
    """Model -> version that answers."""
    problems: dict[str, str]
    """Model -> why its alias names another version."""
    changed_answers: dict[str, ChangedAnswers] = Field(default_factory=dict)
    """Model -> what this code changes in its answers and nobody has accepted."""
    response_time_ms: float
    """How long this answer took to make."""


class Hurdle(Answer):
    """One question to the best trial: what was measured, and what it had to reach."""

    value: float | None
    limit: float
    n: int
    """Trials, or looks at the untouched period, that count."""
    note: str
    passed: bool


class Interval(Answer):
    """A central interval of what will be realised."""

    lower: float
    """Lower end."""
    upper: float
    """Upper end."""
    level: float
    """Share of outcomes that lie inside; unit: fraction."""


class InvalidOutcome(Answer):
    """An outcome that cannot be used."""

    index: int
    """Place in the request, from 0."""
    reason: str


class JobAnswer(Answer):
    """A job that was asked for; the header `Location` has its address."""

    job_id: str
    state: str
    """queued, unless the same request was sent before."""
    entry_point: str
    model_id: str | None


class JobFacts(Answer):
    """Everything about one job."""

    job_id: str
    entry_point: str
    model_id: str | None
    state: Literal["queued", "leased", "done", "failed", "cancelled"] | str
    """leased: a worker runs it now."""
    stage: str | None
    """What it does, in words; null: it has not said."""
    progress: float | None
    """0 to 1, of the present attempt; null: not said."""
    eta_seconds: float | None
    """Estimated from progress and started_at; null where that says nothing."""
    attempts: int
    max_attempts: int
    priority: int
    is_short: bool
    """Whether it never waits behind a training."""
    actor: str | None
    """Key that asked for it; null: the engine itself."""
    error: str | None
    run_id: str | None
    """Its MLflow run, as soon as it has one."""
    run_url: str | None
    created_at: datetime
    due_at: datetime
    started_at: datetime | None
    """Of the present or last attempt."""
    ended_at: datetime | None
    payload: dict[str, Any]
    """Parameters of the entry point."""
    log_tail: list[str]
    """Last lines of its output, without secrets."""


class JobLine(Answer):
    """One job in the list."""

    job_id: str
    entry_point: str
    model_id: str | None
    state: Literal["queued", "leased", "done", "failed", "cancelled"] | str
    """leased: a worker runs it now."""
    stage: str | None
    """What it does, in words; null: it has not said."""
    progress: float | None
    """0 to 1, of the present attempt; null: not said."""
    eta_seconds: float | None
    """Estimated from progress and started_at; null where that says nothing."""
    attempts: int
    max_attempts: int
    priority: int
    is_short: bool
    """Whether it never waits behind a training."""
    actor: str | None
    """Key that asked for it; null: the engine itself."""
    error: str | None
    run_id: str | None
    """Its MLflow run, as soon as it has one."""
    run_url: str | None
    created_at: datetime
    due_at: datetime
    started_at: datetime | None
    """Of the present or last attempt."""
    ended_at: datetime | None


class JobList(Answer):
    """Jobs, newest first."""

    jobs: list[JobLine]


class KeptData(Answer):
    """What a name holds after an upload."""

    name: str
    kind: str
    """table, texts or bars."""
    format: str
    """Csv or parquet."""
    sha256: str
    """Of the file, as it was sent."""
    n_bytes: int
    n_rows: int
    n_columns: int
    actor: str
    """Id of the key that uploaded it."""
    uploaded_at: datetime
    columns: list[str]
    is_new: bool
    """Whether the name held nothing before."""
    is_changed: bool
    """False: it held the same bytes already."""


class KeyFacts(Answer):
    """A key without its secret."""

    id: str
    label: str
    scopes: list[str]
    model_ids: list[str] | None
    """Null: every model."""
    requests_per_minute: int | None
    """Null: no limit."""
    created_at: datetime
    revoked_at: datetime | None
    """Null while it is valid."""


class KeyList(Answer):
    """Every key that was made."""

    keys: list[KeyFacts]


class Loaded(Answer):
    """A version in memory."""

    version: int
    role: str
    """production, or on_demand."""
    loaded_at: datetime
    artifact_bytes: int
    artifacts: list[str]
    """artifact/backend pairs that can answer."""
    absent: dict[str, str]
    """artifact/backend -> why it cannot run here."""
    curves: list[Curve]
    answers: str = ""
    """Whether this code answers as when the version was made."""


class MarketRegimeAnswer(Answer):
    """The most probable state by what was known at the close."""

    regime: str
    """Name of the most probable state, `calm` .. `turbulent`."""
    state: int
    """Its number; 0 is the calmest."""
    n_states: int
    """How many there are."""
    probabilities: dict[str, float]
    """Filtered probability of each regime; unit: fraction."""
    volatility_annualised: float | None
    """Standard deviation of the next bar's log return in that regime, annualised, measured on
    earlier out-of-fold rows; unit: fraction; null: there are no earlier out-of-fold rows.
    """
    expected_volatility_annualised: float | None
    """That of the mixture by the probabilities; unit: fraction; null: there are no earlier out-of-
    fold rows.
    """
    expected_duration_bars: float | None
    """1 / (1 - probability to stay), from the changes of the most probable state in earlier out-
    of-fold rows; unit: bars; null: there are no earlier out-of-fold rows.
    """
    transition_probabilities: dict[str, float] | None
    """From this regime to each, one bar on; unit: fraction; null: there are no earlier out-of-fold
    rows.
    """
    same_day_action: bool
    """Always false: the state of a close cannot be acted on before the next bar."""
    acts_from: Literal["next_bar"] | str
    """When a decision on this state is filled at the earliest."""
    as_of: datetime | None
    """Close of the newest bar used; null for rows and texts."""
    history_end: datetime | None
    """Last bar held, or last of `bars`; null without bars."""
    price_basis: str | None
    """Price basis of these bars; null without bars."""


class VersionFacts(Answer):
    """One registered version."""

    version: int
    created_at: datetime
    run_id: str
    may_trade: bool
    serve_refusals: list[str]
    """Gates that keep its serve lock shut."""
    trade_refusals: list[str]
    """Gates that keep its trade lock shut."""
    gates: list[Gate]
    contract: dict[str, Any]


class ModelFacts(Answer):
    """Everything about one model."""

    model_id: str
    description: str
    owner: str
    tags: dict[str, str]
    watched: bool
    """Whether drift is looked for."""
    recipe: dict[str, Any]
    """Parameters that train it; empty for a model that a stage made."""
    created_at: datetime | None
    """When somebody first said something about it; null: nobody has."""
    archived_at: datetime | None
    """Null: it is not archived."""
    aliases: dict[str, int]
    problem: str | None
    deployment: dict[str, Any] | None
    """The champion and since when it serves."""
    request_aliases: list[str]
    """Names of technical_indicators that the serving version takes."""
    context: list[str]
    """Names that `context` may have beside `rows`."""
    loaded: list[Loaded]
    versions: list[VersionFacts]


class ModelLine(Answer):
    """One model in the list."""

    model_id: str
    template: str
    serving_version: int | None
    aliases: dict[str, int]
    n_versions: int
    may_trade: bool | None
    """Of the serving version; null when none serves."""
    problem: str | None
    """Why it is not served, or why its alias names another version."""
    owner: str = ""
    tags: dict[str, str] = Field(default_factory=dict)
    watched: bool = True
    """Whether drift is looked for."""
    archived_at: datetime | None = None
    """Null: it is not archived."""


class ModelList(Answer):
    """Every model."""

    models: list[ModelLine]


class NewestJob(Answer):
    """The newest job of the model."""

    job_id: str
    entry_point: str
    state: str
    stage: str | None
    progress: float | None
    """0 to 1; null while it has not said."""
    error: str | None
    created_at: datetime


class RetrainingFacts(Answer):
    """Where retraining stands; OBSERVE when no cycle is open."""

    state: str
    champion: int | None = None
    challenger: int | None = None
    trigger: str | None = None
    reason: str | None = None
    cooldown_until: datetime | None = None


class ModelStatus(Answer):
    """One model at a glance."""

    model_id: str
    state: Literal["serving", "not_serving", "no_version", "archived"] | str
    serving_version: int | None
    """What this process answers with."""
    newest_version: int | None
    aliases: dict[str, AliasFacts]
    problem: str | None
    watched: bool
    archived_at: datetime | None
    job: NewestJob | None
    drift: DriftFacts | None
    retraining: RetrainingFacts


class Move(Answer):
    """What put a version into production, or took it away."""

    event: str
    """promoted, rolled_back, withdrawn or alias_moved_outside."""
    at: datetime
    actor: str
    """By whom."""
    reason: str
    """Why."""
    run_id: str | None


class NewKey(Answer):
    """A key with its text, which is shown this once."""

    id: str
    label: str
    scopes: list[str]
    model_ids: list[str] | None
    """Null: every model."""
    requests_per_minute: int | None
    """Null: no limit."""
    created_at: datetime
    revoked_at: datetime | None
    """Null while it is valid."""
    key: str
    """`ID.SECRET`; keep it, it cannot be read again."""


class UnknownOutcome(Answer):
    """An outcome of a prediction that is not logged."""

    index: int
    """Place in the request, from 0."""
    reason: str
    is_kept: bool
    """Whether it is kept: model, symbol and time name it."""


class OutcomesResponse(Answer):
    """What became of the outcomes.

    `accepted`, `duplicates`, `conflicts`, `invalid` and what is `unknown` and not kept add up
    to the outcomes sent.
    """

    accepted: int
    """New, and on disk."""
    duplicates: int
    """Held already with the same value."""
    late: int
    """Of the accepted: received more than a day after `known_at`."""
    conflicts: list[ConflictingOutcome]
    unknown: list[UnknownOutcome]
    invalid: list[InvalidOutcome]
    processing_time_ms: float
    request_id: str


class PortfolioRiskAnswer(Answer):
    """What a portfolio may lose over the version's horizon.

    Measures with a level, as `answer["var_95"]`: var_NN, cvar_NN, component_var_NN,
    marginal_var_NN, component_cvar_NN.
    """

    volatility: float | None = None
    """Standard deviation of the scenarios, annualised; unit: fraction of the portfolio's value."""
    max_drawdown: float | None = None
    """Largest fall from a peak of the *realised* path of these constant weights over the newest
    `measures_window` returns; unit: fraction of the portfolio's value.
    """
    sharpe_ratio: float | None = None
    """Of the *realised* path of these constant weights over the newest `measures_window` returns,
    annualised, cash at 0; unit: ratio; null: the path never moves.
    """
    beta: float | None = None
    """cov(r, m) / var(m) over the same returns, Ledoit-Wolf covariance; unit: ratio; null: the
    market never moves.
    """
    method: str
    """How the losses were made."""
    bases: dict[str, str]
    """Measure (without level) -> the window and the method behind it, where it has one."""
    horizon: str
    """What the losses are over."""
    gross_exposure: float
    """Sum of absolute weights; above 1 with short positions; unit: ratio."""
    interval: Interval | None
    """Of the portfolio's return over the horizon: the central 90 % of the scenarios, so `lower` is
    -`var_95`; unit: fraction of the portfolio's value; null: there are fewer than 20 scenarios.
    """
    as_of: datetime | None
    """Close of the newest bar used; null for rows and texts."""
    history_end: datetime | None
    """Last bar held, or last of `bars`; null without bars."""
    price_basis: str | None
    """Price basis of these bars; null without bars."""


class ProductionAnswer(Answer):
    """What was in production at a time."""

    model_id: str
    at: datetime
    version: int | None
    """Null: nothing was."""
    since: datetime | None
    """Null before the first promotion."""
    until: datetime | None
    """Null while it lasts."""
    began: Move | None
    ended: Move | None
    load_failures: list[str]
    """Why a serving process could not load the version; the one before went on."""


class Queues(Answer):
    """What waits."""

    jobs: dict[str, int] | None
    """State -> how many; null while the database does not answer."""
    waiting_predictions: int
    """Predictions that wait or run now."""
    prediction_log: int
    """Answered rows that are not on disk yet."""


class Readiness(Answer):
    """Whether requests may be sent here."""

    ready: bool


class Remoteness(Answer):
    """How far the input lies from the training rows."""

    score: float | None
    """Largest distance of a feature from its training median; unit: robust standard deviations;
    null: a feature is not known.
    """
    limit: float
    """The 99.9 % quantile of that over training rows; beyond it the signal is HOLD; unit: robust
    standard deviations.
    """
    feature: str
    """The most extreme feature."""


class ReturnForecastAnswer(Answer):
    """What the price is expected to do from the fill over the horizon."""

    expected_log_return: float | None
    """From the fill over the horizon; unit: log return; null: sigma of the row is not known."""
    expected_return: float | None
    """The same as a fraction of the price; unit: fraction; null: sigma of the row is not known."""
    score: float
    """The forecast; unit: sigmas of one bar."""
    sigma: float | None
    """EWMA standard deviation of a bar's log return; unit: log return; null: sigma of the row is
    not known.
    """
    direction: Literal["up", "down", "none"] | str
    """`none` at exactly zero."""
    target_price: float | None
    """The newest close carried on by the forecast; unit: price; null: sigma or the newest close is
    not known.
    """
    interval: ConformalInterval | None
    """Of the log return that will be realised; unit: log return; null: sigma of the row is not
    known, or there are no earlier out-of-fold rows.
    """
    price_interval: ConformalInterval | None
    """The newest close carried on by its ends; unit: price; null: sigma or the newest close is not
    known, or there are no earlier out-of-fold rows.
    """
    fill: str
    """What the return starts from: `next_open` or `next_close`."""
    price_basis: str | None
    """Price basis of these bars; null without bars."""
    as_of: datetime | None
    """Close of the newest bar used; null for rows and texts."""
    history_end: datetime | None
    """Last bar held, or last of `bars`; null without bars."""


class RiskAssessment(Answer):
    """Five measures of `predictions.portfolio`; null for one that `risk_metrics` leaves out."""

    var_95: float | None
    """Value at risk, fraction of the portfolio's value."""
    cvar_95: float | None
    """Expected shortfall, likewise."""
    max_drawdown: float | None
    """Largest fall of the realised path, likewise."""
    sharpe_ratio: float | None
    """Of the realised path, annualised."""
    beta: float | None
    """Against the version's market."""


class Skill(Answer):
    """Gain over the template's baseline, with a two-sided 90 % interval."""

    gain: float | None
    lower: float | None
    upper: float | None
    z: float | None
    n_times: int


class TrialLine(Answer):
    """One trial of a search; of the best so far, what needs no other trial."""

    trial: int
    """Its place in the study, from 1."""
    state: str
    """complete, pruned or fail."""
    score: float | None = None
    gain: float | None = None
    """Over the template's baseline."""
    z: float | None = None
    """Of the test that the gain is 0."""
    architecture: str
    feature_set: str | None = None
    window: int | None = None
    horizon: int | None = None
    parameters: str = ""
    folds: int = 0
    seconds: float | None = None
    reason: str = ""
    """Why it failed."""
    rank: int | None = None
    deflated_sharpe: float | None = None
    limit: float | None = None
    """What z, or the deflated Sharpe ratio, must reach as one of all trials."""


class WorkerLine(Answer):
    """One job that searches."""

    job_id: str
    state: str


class SearchResults(Answer):
    """What a search came to; `found` is null until it is decided."""

    job_id: str
    entry_point: str
    model_id: str | None
    state: Literal["queued", "leased", "done", "failed", "cancelled"] | str
    """leased: a worker runs it now."""
    stage: str | None
    """What it does, in words; null: it has not said."""
    progress: float | None
    """0 to 1, of the present attempt; null: not said."""
    eta_seconds: float | None
    """Estimated from progress and started_at; null where that says nothing."""
    attempts: int
    max_attempts: int
    priority: int
    is_short: bool
    """Whether it never waits behind a training."""
    actor: str | None
    """Key that asked for it; null: the engine itself."""
    error: str | None
    run_id: str | None
    """Its MLflow run, as soon as it has one."""
    run_url: str | None
    created_at: datetime
    due_at: datetime
    started_at: datetime | None
    """Of the present or last attempt."""
    ended_at: datetime | None
    study: str
    metric: str | None
    """What it chooses by; null: it has not begun."""
    higher_is_better: bool | None
    n_trials: int
    """The budget of the study."""
    n_ended: int
    """Trials that have ended, of all workers."""
    n_pruned: int
    """Of them, given up early."""
    n_failed: int
    """Of them, failed."""
    best: TrialLine | None
    """The best trial so far."""
    workers: list[WorkerLine]
    """The jobs of the study, this one first."""
    found: bool | None
    """Whether its best trial is more than luck."""
    reason: str | None
    """Why it is, or why not."""
    recipe: dict[str, Any]
    """Parameters of the best trial's recipe."""
    search_score: float | None
    untouched_score: float | None
    """Null: the period was not looked at."""
    optimism: float | None
    """The gain searched minus the gain untouched."""
    search: Skill | None
    untouched: Skill | None
    of_search: Hurdle | None
    of_untouched: Hurdle | None
    bias: dict[str, float | None]
    """Of having chosen among all trials."""
    front: list[FrontLine]
    """Of several metrics: what nothing is better than."""
    leaderboard: list[TrialLine]
    """Best first, 50 at most; see `pages`."""
    version: int | None
    """Version that the winner became; null: none yet."""
    pages: dict[str, str]
    """Pages of the study in MLflow, by name."""


class SearchStarted(Answer):
    """A search that was asked for; GET /automl/status/{job_id} says how far it is."""

    job_id: str
    state: str
    """queued, unless the same request was sent before."""
    entry_point: str
    model_id: str | None
    study: str
    """Its name; the same name joins it and goes on with it."""
    workers: list[str]
    """The jobs that search, this one first."""
    ignored: list[str]
    """What was given and has no effect, and why."""


class SearchState(Answer):
    """How far a search is."""

    job_id: str
    entry_point: str
    model_id: str | None
    state: Literal["queued", "leased", "done", "failed", "cancelled"] | str
    """leased: a worker runs it now."""
    stage: str | None
    """What it does, in words; null: it has not said."""
    progress: float | None
    """0 to 1, of the present attempt; null: not said."""
    eta_seconds: float | None
    """Estimated from progress and started_at; null where that says nothing."""
    attempts: int
    max_attempts: int
    priority: int
    is_short: bool
    """Whether it never waits behind a training."""
    actor: str | None
    """Key that asked for it; null: the engine itself."""
    error: str | None
    run_id: str | None
    """Its MLflow run, as soon as it has one."""
    run_url: str | None
    created_at: datetime
    due_at: datetime
    started_at: datetime | None
    """Of the present or last attempt."""
    ended_at: datetime | None
    study: str
    metric: str | None
    """What it chooses by; null: it has not begun."""
    higher_is_better: bool | None
    n_trials: int
    """The budget of the study."""
    n_ended: int
    """Trials that have ended, of all workers."""
    n_pruned: int
    """Of them, given up early."""
    n_failed: int
    """Of them, failed."""
    best: TrialLine | None
    """The best trial so far."""
    workers: list[WorkerLine]
    """The jobs of the study, this one first."""


class SentimentAnswer(Answer):
    """What a text says of a company or a market."""

    score: float
    """P(positive) - P(negative), -1 to 1; 0 when abstained."""
    class_: Literal["negative", "neutral", "positive"] | str = Field(alias="class")
    """The most probable class; `neutral` when abstained."""
    confidence: float | None
    """Its calibrated probability; unit: fraction; null: the answer is abstained."""
    probabilities: dict[str, float] | None
    """Of negative, neutral and positive; unit: fraction; null: the answer is abstained."""
    ece: float | None
    """Calibration error of the calibrator over all classes, on a fold it had not seen; unit:
    fraction; null: there is no such fold yet.
    """
    known_words: int | None
    """Words that the lexicon knows; unit: words; null: the model is a transformer."""
    coverage: float | None
    """Share of the text's words that the model knows (`words`: of its different words, those that
    training texts had); unit: fraction; null: the model is a transformer, or a request of
    feature rows does not say.
    """
    abstained: Literal["no_known_words"] | str | None
    """Why score and class say nothing; null: they do."""
    as_of: datetime | None
    """Close of the newest bar used; null for rows and texts."""
    history_end: datetime | None
    """Last bar held, or last of `bars`; null without bars."""
    price_basis: str | None
    """Price basis of these bars; null without bars."""


class Throughput(Answer):
    """What happened in the last minutes, or since the start where that is shorter.

    An error is a status of 500 or more; `error_rate` is their share of the requests, null
    without any request. `refused` counts 4xx, and callers that hung up. What machines poll
    (/health, /metrics, /system/status, /hardware/utilization) is left out.
    """

    seconds: float
    requests: int
    errors: int
    refused: int
    predictions: int
    requests_per_second: float
    predictions_per_second: float
    error_rate: float | None


class Worker(Answer):
    """A process that runs jobs, as the engine database knows it."""

    owner: str
    """host:pid."""
    n_slots: int
    """How many jobs it runs at once."""
    started_at: datetime
    seen_at: datetime
    seen_seconds_ago: float
    """By this machine's clock; never below 0."""


class SystemStatus(Answer):
    """State of this process. `workers` is null while the database does not answer."""

    at: datetime
    started_at: datetime
    uptime_seconds: float
    versions: dict[str, str | None]
    """Null: not installed here."""
    settings: dict[str, bool | int | float | str | list[Any] | dict[str, Any] | None]
    """Variable -> value; no secrets."""
    dependencies: dict[str, Dependency]
    workers: list[Worker] | None
    """Seen within a day, the newest first."""
    disk: Disk | None
    """Null while hardware is not sampled."""
    queues: Queues
    traffic: dict[str, Throughput]
    """By window: 1m, 5m, 15m."""


class TabularClassAnswer(Answer):
    """A class of a row; given where the target has classes."""

    class_: str = Field(alias="class")
    """The most probable class."""
    confidence: float
    """Its calibrated probability; unit: fraction."""
    probabilities: dict[str, float]
    """Of every class; unit: fraction."""
    ece: float | None
    """Calibration error of the calibrator over all classes, on a fold it had not seen; unit:
    fraction; null: there is no such fold yet.
    """
    missing: list[str]
    """Features of the row without a value (`codes` and `indicators` only)."""
    as_of: datetime | None
    """Close of the newest bar used; null for rows and texts."""
    history_end: datetime | None
    """Last bar held, or last of `bars`; null without bars."""
    price_basis: str | None
    """Price basis of these bars; null without bars."""


class TabularNumberAnswer(Answer):
    """A number for a row; given where the target is a number."""

    value: float
    """The forecast; unit: as the target."""
    interval: Interval | None
    """Split conformal on the absolute errors of earlier out-of-fold rows, so of one width for all
    rows; unit: as the target; null: there are too few earlier rows.
    """
    baseline: float
    """The training mean; unit: as the target."""
    missing: list[str]
    """Features of the row without a value (`codes` and `indicators` only)."""
    as_of: datetime | None
    """Close of the newest bar used; null for rows and texts."""
    history_end: datetime | None
    """Last bar held, or last of `bars`; null without bars."""
    price_basis: str | None
    """Price basis of these bars; null without bars."""


class TradingSignalsAnswer(Answer):
    """A signal, or HOLD with what was missing for one."""

    signal: Literal["SELL", "HOLD", "BUY"] | str
    """The decision; HOLD exactly where `abstained` is not null."""
    confidence: float
    """Calibrated probability of that class; unit: fraction."""
    probabilities: dict[str, float]
    """calibrated, of SELL, HOLD and BUY; unit: fraction."""
    meta_confidence: float | None
    """P(the side of the signal earns more than it costs); unit: fraction; null: the version has no
    meta-labels, or sigma is not known.
    """
    ece: float | None
    """Calibration error of the calibrator over all classes, on a fold it had not seen; unit:
    fraction; null: there is no such fold yet.
    """
    threshold: float | None
    """What |P(BUY) - P(SELL)| must exceed for a signal; unit: fraction; null: no threshold earned
    anything net of costs on earlier rows.
    """
    abstained: (
        Literal["no_edge", "below_threshold", "low_meta_confidence", "out_of_distribution"]
        | str
        | None
    )
    """Why the signal is HOLD; `no_edge`: the trade lock is shut, or there is no threshold; null:
    the signal is another one.
    """
    reason: str | None
    """The same in words, with its numbers; null: the signal is another one."""
    failed_gates: list[str]
    """Gates that keep the trade lock shut."""
    target_price: float | None
    """Newest close times exp(`expected_log_return`); unit: price; null: the newest close is not
    known.
    """
    interval: Interval | None
    """Of the price at the label's exit, split conformal; unit: price; null: close or sigma is not
    known, or there are no conformal scores yet.
    """
    adaptive_interval: Interval | None
    """The same at the level that adaptive conformal inference had reached when the version was
    made; unit: price; null: close or sigma is not known, or there are no conformal scores yet,
    or that level is beyond every score.
    """
    expected_log_return: float
    """From fill to exit: the classes' mean returns by probability; unit: log return."""
    sigma: float | None
    """EWMA standard deviation of a bar's log return; unit: log return; null: it is not known."""
    out_of_distribution: Remoteness
    """How far the input lies from the training rows."""
    fill: str
    """When a decision is filled, and when it is out after a touch of its label: `next_open` or
    `next_close`.
    """
    path: str
    """What the label looked at: `high_low` of each bar, or `close`."""
    price_basis: str | None
    """Price basis of these bars; null without bars."""
    as_of: datetime | None
    """Close of the newest bar used; null for rows and texts."""
    history_end: datetime | None
    """Last bar held, or last of `bars`; null without bars."""


class ValidationFacts(Answer):
    """One later validation; the record itself never changes."""

    at: datetime
    run_id: str
    champion: int | None
    data_sha256: str
    data_end: datetime
    gates: list[Gate]


class VersionLine(Answer):
    """One version in the list."""

    version: int
    created_at: datetime
    architecture: str
    may_trade: bool
    serve_refusals: list[str]
    aliases: list[str]
    artifacts: list[str]
    """Artifacts that it carries, such as onnx.fp32."""
    n_validations: int
    """How often it was validated again."""


class VersionList(Answer):
    """Every version of a model, oldest first."""

    model_id: str
    versions: list[VersionLine]


class VolatilityForecastAnswer(Answer):
    """How volatile the next bars will be."""

    forecast_variance: float | None
    """Mean variance per bar over the horizon, in the proxy's unit; unit: squared log return; null:
    the EWMA variance of the row is not known.
    """
    volatility_daily: float | None
    """Its square root per day; bars of a day are counted on the training rows; unit: fraction;
    null: the EWMA variance of the row is not known.
    """
    volatility_annualised: float | None
    """Its square root per year; bars of a year are counted on the training rows (a year of stocks
    has about 252 daily bars, a year of bitcoin 365); unit: fraction; null: the EWMA variance of
    the row is not known.
    """
    interval: Interval | None
    """Of the volatility that will be *realised* over the horizon, annualised; split conformal on
    realised / forecast variance of earlier out-of-fold rows; unit: fraction; null: the EWMA
    variance of the row is not known, or there are too few earlier rows.
    """
    baseline_volatility: float | None
    """EWMA(0.94) of squared log returns, annualised; unit: fraction; null: the EWMA variance of
    the row is not known.
    """
    as_of: datetime | None
    """Close of the newest bar used; null for rows and texts."""
    history_end: datetime | None
    """Last bar held, or last of `bars`; null without bars."""
    price_basis: str | None
    """Price basis of these bars; null without bars."""


class WholeVersion(Answer):
    """Everything that is recorded of one version."""

    version: int
    created_at: datetime
    run_id: str
    may_trade: bool
    serve_refusals: list[str]
    """Gates that keep its serve lock shut."""
    trade_refusals: list[str]
    """Gates that keep its trade lock shut."""
    gates: list[Gate]
    contract: dict[str, Any]
    model_id: str
    aliases: list[str]
    artifacts: list[ArtifactFacts]
    digests: dict[str, str]
    """Path -> SHA-256 of every file."""
    validations: list[ValidationFacts]
    """Oldest first."""
    links: dict[str, str]
    """Pages of MLflow: version, run, report."""


class WinnerDeployment(Answer):
    """The job that makes a version of a search's winner."""

    job_id: str
    state: str
    """queued, unless the same request was sent before."""
    entry_point: str
    model_id: str | None
    study: str
    ignored: list[str]
    """What was given and has no effect, and why."""


ANSWER_TYPES: dict[str, Any] = {
    "anomaly": AnomalyAnswer,
    "market_regime": MarketRegimeAnswer,
    "portfolio_risk": PortfolioRiskAnswer,
    "return_forecast": ReturnForecastAnswer,
    "sentiment": SentimentAnswer,
    "tabular": TabularClassAnswer | TabularNumberAnswer,
    "trading_signals": TradingSignalsAnswer,
    "volatility_forecast": VolatilityForecastAnswer,
}
"""Template -> type of its answers."""
