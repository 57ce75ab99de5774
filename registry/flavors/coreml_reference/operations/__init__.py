"""Operations: the formulas of ML Program operations, in numpy.

One file per kind of operation. Each function computes what Apple's definition of the operation
says (https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html); its
annotations say what the operation takes (`registry.flavors.coreml_reference.signatures`). To add
one: a function, a line in `OPERATIONS` of its file, a line in docs/coreml_reference.md.

Guarantees of every operation:
- it changes none of its inputs;
- an index that leads outside a tensor raises, whatever the program says about validating it;
- it makes no tensor larger than `values.ELEMENTS`, and asks before it makes one.

`while_loop` and `const` are not formulas: `registry.flavors.coreml_reference.programs` runs them.
"""

from registry.flavors.coreml_reference.operations import (
    activations,
    compressed,
    elementwise,
    indexing,
    normalization,
    products,
    recurrent,
    reductions,
    shapes,
)
from registry.flavors.coreml_reference.signatures import Operation

MODULES = (
    activations,
    compressed,
    elementwise,
    indexing,
    normalization,
    products,
    recurrent,
    reductions,
    shapes,
)
OPERATIONS: dict[tuple[str, str], Operation] = {
    (found.name, opset): found
    for module in MODULES
    for found in module.OPERATIONS
    for opset in found.opsets
}
"""Name and operation set -> operation."""

STRUCTURE = ("const", "while_loop")
NAMES = tuple(sorted({name for name, _ in OPERATIONS} | set(STRUCTURE)))
