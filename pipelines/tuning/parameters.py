"""What a search is asked for, beside the data and the recipe that it starts from."""

from dataclasses import dataclass

from pipelines.parameters import described
from pipelines.tuning.space import MOST_TRIALS
from registry.errors import ParameterError

SAMPLERS = ("tpe", "random", "grid", "cmaes")
PRUNERS = ("wilcoxon", "halving", "none")
LARGEST_SHARE = 50
LARGEST_BATCH = 65_536


@dataclass(frozen=True, slots=True)
class SearchParameters:
    """What a study searches, by which metric, and what it holds back.

    These make the study. A worker that joins one says nothing else than it says.
    """

    space: str = described("", "JSON object of what to search; empty means what is declared")
    metric: str = described(
        "", "what to choose by; several, separated by commas, give a front; empty: the template's"
    )
    sampler: str = described("tpe", "tpe, random, grid or cmaes")
    pruner: str = described(
        "", "wilcoxon, halving or none; empty means wilcoxon by a loss, else none"
    )
    untouched_percent: int = described(
        20, "newest share of the decision times that the search does not see"
    )
    latency_ms: float = described(
        0.0, "longest that a call to the loaded artifact may take, in ms; 0 means no limit"
    )
    latency_batch: int = described(1, "rows of the call whose latency is measured")
    artifact_kb: int = described(0, "largest artifact, in kB; 0 means no limit")
    served_columns: str = described(
        "", "columns of bars that the server will have, comma separated; empty means all"
    )

    def check(self) -> None:
        """Refuse names that are not known and shares that leave nothing on one side.

        Raises:
            ParameterError: one of them.
        """
        for name, value, known in (
            ("sampler", self.sampler, SAMPLERS),
            ("pruner", self.pruner or PRUNERS[0], PRUNERS),
        ):
            if value not in known:
                raise ParameterError(name, value, f"one of {', '.join(known)}")
        if not 1 <= self.untouched_percent <= LARGEST_SHARE:
            expected = f"1 to {LARGEST_SHARE}: a search is judged on what it has not seen"
            raise ParameterError("untouched_percent", self.untouched_percent, expected)
        if not 1 <= self.latency_batch <= LARGEST_BATCH:
            raise ParameterError("latency_batch", self.latency_batch, f"1 to {LARGEST_BATCH:,}")


@dataclass(frozen=True, slots=True)
class BudgetParameters:
    """How long this worker goes on, and what becomes of the winner."""

    study: str = described("", "name of the study; the same name joins it; empty: made of the rest")
    trials: int = described(50, f"trials of the study, at most {MOST_TRIALS:,}, pruned ones too")
    seconds: int = described(0, "seconds after which this worker begins no trial; 0 means no limit")
    memory_mb: int = described(
        0, "megabytes of this worker; a trial that needs more fails; 0 means no limit"
    )
    deploy: bool = described(False, "register the winner as a version, through the stages of main")
    promote: bool = described(False, "ask for alias production after that")
    flavors: str = described("", "flavors to write then, separated by commas; empty means all")

    def check(self) -> None:
        """Refuse a budget without trials.

        Raises:
            ParameterError: none, or too many.
        """
        if not 1 <= self.trials <= MOST_TRIALS:
            raise ParameterError("trials", self.trials, f"1 to {MOST_TRIALS:,}")
        if self.promote and not self.deploy:
            raise ParameterError("promote", self.promote, "deploy=true with it")
