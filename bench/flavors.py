"""Every artifact of every architecture, measured on the bundled bars: the table of docs/flavors.md.

Each architecture is fitted once, with settings that make the fit short, for the first template that
takes it. `convert` then writes and compares its artifacts. `--write` puts the table into the page.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from bench.figures import machine
from pipelines.architectures import ARCHITECTURES
from pipelines.convert import write_flavors
from pipelines.method.rows import OutOfFold
from pipelines.parameters import FlavorParameters, RecipeParameters, SourceParameters
from pipelines.recipes.candidate import Candidate, write_files
from pipelines.recipes.dataset import final_rows, read_dataset
from pipelines.recipes.inputs import kind_of
from pipelines.recipes.parity import N_PARITY_ROWS, fitted_scores
from pipelines.report.artifacts import artifact_tables
from pipelines.templates import TEMPLATES
from pipelines.train import contract_of
from registry.command_line import run
from registry.decoder import Decoder
from registry.errors import MLEngineError
from registry.flavors import FLAVORS
from registry.flavors.conversion import Conversion, conversion
from registry.settings import PlatformSettings

PAGE = Path(__file__).parents[1] / "docs" / "flavors.md"
BEGIN, END = "<!-- measured: python -m bench.flavors --write -->", "<!-- end of measured -->"
EVERYTHING = FlavorParameters(compress="int8,palette6,palette4")
SOURCE = SourceParameters(end="2004-12-31")
RECENT_BARS = 252
SHORT = {
    "epochs": 3,
    "rounds": 100,
    "n_estimators": 100,
    "paths": 2000,
    "nthread": 2,
    "n_states": 3,
}
"""Applied where an architecture has a parameter of that name."""
LATER = ("tabular",)
"""Templates whose data are a user's own; every architecture has another."""
HEADER = (
    "| architecture | artifact | difference | on extremes | same class | kB | holds, or why not |",
    "|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True)
class Line:
    """One artifact of one architecture; numbers are None where it is not carried."""

    architecture: str
    artifact: str
    difference: float | None
    extremes: float | None
    same: float | None
    n_bytes: int | None
    reason: str

    def row(self) -> str:
        """Return the line as a row of the page's table."""
        holds = "holds" if self.n_bytes is not None else self.reason
        return (
            f"| `{self.architecture}` | `{self.artifact}` | {_number(self.difference)} "
            f"| {_number(self.extremes)} | {'' if self.same is None else f'{self.same:.2%}'} "
            f"| {'' if self.n_bytes is None else f'{self.n_bytes / 1000:,.1f}'} | {holds} |"
        )


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser("python -m bench.flavors", description=__doc__)
    parser.add_argument("names", nargs="*", help="architectures; none means all")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    asked = parser.parse_args()
    names = asked.names or list(ARCHITECTURES)
    lines: list[Line] = []
    with conversion(EVERYTHING.libraries()) as writing:
        writing.start()
        for name in names:
            started = perf_counter()
            made = list(measured(name, writing))
            lines += made
            print("\n".join(line.row() for line in made))
            print(f"{name}: {perf_counter() - started:.1f} s", flush=True)
    if asked.write:
        write_page(lines)


def measured(architecture: str, writing: Conversion) -> Iterator[Line]:
    """Fit an architecture on the bundled bars and yield what became of each artifact."""
    with TemporaryDirectory() as folder:
        try:
            candidate = candidate_of(architecture, Path(folder))
        except MLEngineError as exc:  # its weights are a user's own
            for artifact in EVERYTHING.artifacts():
                yield Line(architecture, str(artifact), *[None] * 4, f"not measured: {exc}")
            return
        record, _ = write_flavors(candidate, EVERYTHING, writing)
        table = artifact_tables(record, candidate.directory)["artifacts"]
        for row in table.iter_rows(named=True):
            numbers = row["difference"], row["on_extremes"], row["same_class"], row["bytes"]
            yield Line(architecture, row["artifact"], *numbers, row["remark"])


def candidate_of(architecture: str, folder: Path) -> Candidate:
    """Return a candidate that is good for `write_flavors`: fitted once, not judged."""
    template = template_of(architecture)
    known = ARCHITECTURES.get(architecture).parameters(TEMPLATES.get(template).objective({}))
    parameters = {name: value for name, value in SHORT.items() if name in known}
    wanted = RecipeParameters(
        template=template,
        architecture=architecture,
        parameters=json.dumps(parameters),
        recent_bars=RECENT_BARS if TEMPLATES.get(template).inputs == "bars" else 0,
    )
    recipe, dataset = read_dataset(SOURCE, wanted, PlatformSettings(data_dir=folder))
    recipe = recipe.chosen(dataset.rows.take(dataset.folds[0].train))
    final = recipe.fit(final_rows(recipe, dataset))
    contract = contract_of(recipe, dataset, SOURCE, final)
    native = final.native()
    write_files(folder, FLAVORS.get("native").write(native, contract).items())
    nothing = OutOfFold(dataset.rows.take(np.arange(0)), np.empty((0, 1)), np.empty(0, np.int64))
    kind = kind_of(template)
    reference = kind.sample(dataset.rows, N_PARITY_ROWS)
    fitted = fitted_scores(final, native, reference, may_miss=kind.may_miss)
    facts = (recipe, contract, Decoder({}), dataset, nothing, fitted)
    return Candidate("", folder, SOURCE, wanted, *facts)


def template_of(architecture: str) -> str:
    """Return the first template that takes an architecture and whose data are bundled."""
    names = sorted(TEMPLATES, key=lambda name: name in LATER)
    return next(name for name in names if architecture in TEMPLATES.get(name).architectures)


def write_page(lines: Sequence[Line]) -> None:
    """Put the table between the marks of the page."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    facts = machine()
    where = f"{facts['processor']}, {facts['cores']} cores, {facts['system']}"
    table = "\n".join((*HEADER, *(line.row() for line in lines)))
    PAGE.write_text(f"{before}{BEGIN}\nMeasured on: {where}.\n\n{table}\n{END}{after}")


def rows_of_page() -> dict[tuple[str, str], str]:
    """Return (architecture, artifact) -> last cell, as the page says it."""
    table = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return {(row[0].strip("`"), row[1].strip("`")): row[-1] for row in cells}


def artifact_names() -> tuple[str, ...]:
    """Return every artifact that the page has a row for."""
    return tuple(str(artifact) for artifact in EVERYTHING.artifacts())


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


if __name__ == "__main__":
    run(main)
