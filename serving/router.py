"""Router: which (artifact, backend) answers a batch of a given size.

It chooses by latency curves, which were measured on this machine when the version was loaded. When
the backend asked for is absent, the fastest one answers and the answer says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from registry.backends import LatencyCurve, Predictor, absence
from registry.errors import BackendUnavailableError
from registry.flavors import Artifact

NO_FLAVOR = "this version has no flavor for it"


@dataclass(frozen=True, slots=True)
class Option:
    """One loaded artifact; `curve` is None when nothing was measured."""

    artifact: Artifact
    backend: str
    predictor: Predictor
    curve: LatencyCurve | None = None

    @property
    def flavor(self) -> str:
        """The artifact's flavor."""
        return self.artifact.flavor


@dataclass(frozen=True, slots=True)
class Route:
    """The option that answers; `fallback` says why the backend asked for does not."""

    option: Option
    fallback: str | None = None


def choose(
    options: Sequence[Option], n_rows: int, backend: str | None = None, strict: bool = False
) -> Route:
    """Return the fastest option for `n_rows`; on `backend` if one of them runs there.

    Args:
        options: at least one, in order of preference; the order decides between options that
            were not measured.
        backend: the hardware asked for; None leaves the choice open.

    Raises:
        BackendUnavailableError: `strict`, and no option runs on `backend`.
        UnknownNameError: no hardware is called `backend`.
    """
    if backend is None:
        return Route(_fastest(options, n_rows))
    wanted = [option for option in options if option.backend == backend]
    if wanted:
        return Route(_fastest(wanted, n_rows))
    absent = BackendUnavailableError(backend, absence(backend) or NO_FLAVOR)
    if strict:
        raise absent
    return Route(_fastest(options, n_rows), str(absent))


def _fastest(options: Sequence[Option], n_rows: int) -> Option:
    if any(option.curve is None for option in options):
        return options[0]
    return min(options, key=lambda o: o.curve.latency_at(n_rows) if o.curve else 0.0)
