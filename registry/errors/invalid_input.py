"""What a caller sent and must change: names, parameters, bars, rows, labels."""

from collections.abc import Iterable

from registry.errors.families import InvalidInputError, listed, shown


class UnknownNameError(InvalidInputError):
    """A name that no catalog entry has."""

    names = ("name",)

    def __init__(self, noun: str, name: str, known: Iterable[str]) -> None:
        self.noun, self.name, self.known = noun, name, tuple(sorted(known))
        super().__init__(f"unknown {noun} {name!r}; known: {listed(self.known)}")


class UnknownSymbolError(InvalidInputError):
    """A symbol that a source, a store or a version does not hold."""

    names = ("symbol",)

    def __init__(self, symbol: str, where: str, known: Iterable[str]) -> None:
        self.symbol, self.where, self.known = symbol, where, tuple(sorted(known))
        super().__init__(f"symbol {symbol!r} is not in {where}; it has: {listed(self.known)}")


class BarsError(InvalidInputError):
    """Bars that break a rule of the checked frame (see `pipelines.data.bars`).

    Args:
        told: the problem without its values, for callers; empty where it has none.
    """

    def __init__(self, problem: str, where: str = "", hint: str = "", told: str = "") -> None:
        self.problem, self.where, self.hint = told or problem, where, hint
        super().__init__(_line(problem, where, hint), _line(self.problem, where, hint))


class TooLittleHistoryError(InvalidInputError):
    """Fewer bars than the features or the folds need."""

    def __init__(self, what: str, needed: int, found: int, hint: str = "") -> None:
        self.what, self.needed, self.found = what, needed, found
        tail = f"; {hint}" if hint else ""
        super().__init__(f"{what} needs {needed} bars but there are {found}{tail}")


class TooFewSymbolsError(InvalidInputError):
    """A panel feature set needs more symbols at one timestamp than there are."""

    def __init__(self, feature_set: str, needed: int, found: Iterable[str]) -> None:
        self.feature_set, self.needed, self.found = feature_set, needed, tuple(found)
        super().__init__(
            f"feature set {feature_set!r} needs at least {needed} symbols at the same timestamp "
            f"but there are {len(self.found)} ({listed(self.found)}); add symbols or choose a "
            "feature set of single symbols, such as close_only"
        )


class MissingColumnsError(InvalidInputError):
    """A feature set or template needs bar columns that the source does not have.

    Args:
        told: the hint without values of the source, for callers; empty where it has none.
    """

    def __init__(
        self, needed_by: str, missing: Iterable[str], hint: str = "", told: str = ""
    ) -> None:
        self.needed_by, self.missing = needed_by, tuple(missing)
        problem = f"{needed_by} needs the columns {listed(self.missing)}"
        super().__init__(_line(problem, "", hint), _line(problem, "", told or hint))


class ColumnTypeError(InvalidInputError):
    """A column of rows that holds values of another type."""

    names = ("column",)

    def __init__(self, column: str, expected: str, found: str) -> None:
        self.column, self.expected, self.found = column, expected, found
        super().__init__(f"column {column!r}: expected {expected} but it holds {found}")


class ShapeError(InvalidInputError):
    """Rows or arrays of another length or shape than the contract says."""

    def __init__(self, name: str, expected: str, found: str) -> None:
        self.name, self.expected, self.found = name, expected, found
        super().__init__(f"{name}: expected {expected} but got {found}")


class RowRefusedError(InvalidInputError):
    """A row that was refused when its request was accepted; it says what was said then."""

    def __init__(self, code: str, message: str) -> None:
        self._code = code
        super().__init__(message)

    @property
    def code(self) -> str:
        """The code of the error that refused it."""
        return self._code


class ValueRangeError(InvalidInputError):
    """A number that is not finite or does not fit into float32."""

    given = ("value",)

    def __init__(self, name: str, value: object, expected: str = "a finite float32 number") -> None:
        self.name, self.value, self.expected = name, value, expected
        told = f"{name}: expected {expected}"
        super().__init__(f"{told} but got {shown(value)}", told)


class ParameterError(InvalidInputError):
    """A stage parameter or request field with a value that cannot be used."""

    given = ("value",)

    def __init__(self, name: str, value: object, expected: str) -> None:
        self.name, self.value, self.expected = name, value, expected
        super().__init__(
            f"{name}={shown(value)}: expected {expected}", f"{name}: expected {expected}"
        )


class GridTooLargeError(InvalidInputError):
    """A grid of more points than a study may have trials."""

    def __init__(self, n_points: int, most: int) -> None:
        self.n_points, self.most = n_points, most
        super().__init__(
            f"space: a grid of {n_points:,} points, of at most {most:,}; "
            "name fewer values, or choose sampler tpe"
        )


class UnfitRowsError(InvalidInputError):
    """Rows from which nothing can be learned."""

    def __init__(self, template: str, problem: str, hint: str) -> None:
        self.template, self.problem, self.hint = template, problem, hint
        super().__init__(f"{template} cannot be trained: {problem}; {hint}")


class FitError(InvalidInputError):
    """An architecture cannot be fitted on these rows with these parameters."""

    def __init__(self, architecture: str, problem: str, hint: str) -> None:
        self.architecture, self.problem, self.hint = architecture, problem, hint
        super().__init__(f"{architecture} cannot be fitted: {problem}; {hint}")


class AllTrialsFailedError(InvalidInputError):
    """No trial of a study came to a score; `reasons` holds the most frequent ones, counted."""

    def __init__(self, study: str, n_trials: int, reasons: Iterable[tuple[str, int]]) -> None:
        self.study, self.n_trials, self.reasons = study, n_trials, tuple(reasons)
        lines = "; ".join(f"{count} times: {reason}" for reason, count in self.reasons)
        super().__init__(f"all {n_trials} trials of study {study!r} failed: {lines}")


class MemoryBudgetError(InvalidInputError):
    """A trial of a search needs more memory than its worker may hold; both in megabytes."""

    def __init__(self, held: float, limit: int) -> None:
        self.held, self.limit = held, limit
        super().__init__(f"the worker holds {held:,.0f} MB, and memory_mb={limit} allows no more")


class UntouchedPeriodError(InvalidInputError):
    """The newest period is too short to judge a winner on, or leaves too little to search."""

    def __init__(self, template: str, needed: int, held: int, n_times: int) -> None:
        self.template, self.needed, self.held, self.n_times = template, needed, held, n_times
        super().__init__(
            f"a search of {template} holds back at least {needed} decision times and at most half; "
            f"of {n_times} here it would hold back {held}: read more history"
        )


class HorizonError(InvalidInputError):
    """A prediction horizon other than the version's."""

    given = ("asked",)

    def __init__(self, asked: str, available: str, model: str) -> None:
        self.asked, self.available, self.model = asked, available, model
        told = f"is not served by {model}; available: {available}"
        super().__init__(f"horizon {asked!r} {told}", f"this horizon {told}")


class WeightsError(InvalidInputError):
    """Weights of a portfolio that do not sum to 1."""

    given = ("total",)

    def __init__(self, total: float, tolerance: float) -> None:
        self.total, self.tolerance = total, tolerance
        expected = (
            f"expected 1 within {tolerance:g}; give weights of the invested value, or shares of "
            "every position and no weights"
        )
        told = f"the sum of the positions' weights: {expected}"
        super().__init__(f"the weights of the positions sum to {total:.6g}, {expected}", told)


class TableError(InvalidInputError):
    """A table or a file of texts that no model can learn from as it is."""

    def __init__(self, problem: str, where: str = "", hint: str = "") -> None:
        self.problem, self.where, self.hint = problem, where, hint
        super().__init__(_line(problem, where, hint))


def _line(problem: str, where: str, hint: str) -> str:
    return f"{where + ': ' if where else ''}{problem}{'; ' + hint if hint else ''}"
