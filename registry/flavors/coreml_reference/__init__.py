"""Core ML reference: Core ML packages evaluated with numpy, verified without a Mac.

`open_model` reads the members of a package, checks every one of them and returns a model that
takes rows and gives scores. ML Programs are evaluated operation by operation: each computes in
float32 and rounds its outputs to the type that the program declares. Tree ensembles are sums of
doubles. What the interpreter does not know (a field, a type, an operation, an option) refuses the
package by name when it is opened; nothing is guessed and nothing is skipped.

It checks the program, not Apple's runtime: docs/coreml_reference.md says what that leaves open.
Neither coremltools nor torch is imported here. The parts, in the order in which they are used:

- `packages`: the members of a package and their names and sizes;
- `schema`, `wire`: protobuf messages, field by field;
- `weights`, `values`: the weight file, types and constants;
- `operations`, `signatures`: what each operation of a program takes, and its formula;
- `programs`, `trees`: the two kinds of model;
- `models`: what a package says of its input and output, and the whole.
"""

FLAVOR = "coreml"
"""The flavor whose artifacts are read here, as errors name it."""
