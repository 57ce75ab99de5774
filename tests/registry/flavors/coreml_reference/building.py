"""Small Core ML packages, written by hand: no coremltools needed.

`encode` writes the messages of the schema, `call` and `constant` describe operations, `package`
puts a whole package together, and `evaluate` runs one operation on constants.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from registry.flavors.coreml_reference.evaluation import run_program
from registry.flavors.coreml_reference.programs import read_program
from registry.flavors.coreml_reference.schema import ENUMERATIONS, MESSAGES
from registry.flavors.coreml_reference.wire import read_message

MIL_TYPES = {
    "bool": "BOOL",
    "float16": "FLOAT16",
    "float32": "FLOAT32",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
}
FORMS = {"BOOL": "bools", "FLOAT32": "floats", "INT32": "ints", "UINT16": "ints", "INT16": "ints"}
DESCRIBED = {"FLOAT16": "FLOAT16", "FLOAT32": "FLOAT32"}
MODEL_ID, WEIGHTS_ID = (
    "00000000-0000-0000-0000-000000000001",
    "00000000-0000-0000-0000-000000000002",
)
PREFIX = "Data/com.apple.CoreML"


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while True:
        out.append((number & 127) | (128 if number > 127 else 0))
        number >>= 7
        if not number:
            return bytes(out)


def encode(message_type: str, values: Mapping[str, Any]) -> bytes:
    """Return a message; maps are dictionaries, messages are dictionaries or bytes."""
    numbers = {field.name: (number, field) for number, field in MESSAGES[message_type].items()}
    out = b""
    for name, value in values.items():
        number, field = numbers[name]
        if field.type.endswith("Entry"):
            value = [{"key": key, "value": entry} for key, entry in value.items()]
        for one in value if field.is_repeated else [value]:
            out += _field(number, field.type, one)
    return out


def _field(number: int, kind: str, value: Any) -> bytes:
    if kind in MESSAGES or kind in ("string", "bytes"):
        content = encode(kind, value) if isinstance(value, Mapping) else value
        content = content.encode() if isinstance(content, str) else content
        return varint(number << 3 | 2) + varint(len(content)) + content
    if kind in ENUMERATIONS:
        names = {name: n for n, name in ENUMERATIONS[kind].items()}
        return varint(number << 3) + varint(names[value])
    if kind == "double":
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if kind == "float":
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(int(value))


def tensor_type(dtype: str, shape: Sequence[int | None]) -> dict[str, Any]:
    sizes = [{"unknown": {}} if n is None else {"constant": {"size": n}} for n in shape]
    return {"tensorType": {"dataType": dtype, "rank": len(sizes), "dimensions": sizes}}


def written(value: Any) -> dict[str, Any]:
    """Return a value as a message: a text or an array, immediate."""
    if isinstance(value, str):
        tensor = {"strings": {"values": [value]}}
        return {"type": tensor_type("STRING", ()), "immediateValue": {"tensor": tensor}}
    if isinstance(value, Mapping):  # already a message
        return dict(value)
    array = np.asarray(value)
    dtype = MIL_TYPES[str(array.dtype)]
    content = array.ravel().tolist() if dtype in FORMS else array.tobytes()
    tensor = {FORMS.get(dtype, "bytes"): {"values": content}}
    return {"type": tensor_type(dtype, array.shape), "immediateValue": {"tensor": tensor}}


def stored(dtype: str, shape: Sequence[int], offset: int, file: str = "weight.bin") -> dict:
    """Return a value that lies in a weight file."""
    place = {"fileName": f"@model_path/weights/{file}", "offset": offset}
    return {"type": tensor_type(dtype, shape), "blobFileValue": place}


def constant(name: str, value: Any) -> dict[str, Any]:
    message = written(value)
    return {
        "type": "const",
        "outputs": [{"name": name, "type": message["type"]}],
        "attributes": {"name": written(name), "val": message},
    }


def binding(source: Any) -> dict[str, Any]:
    """Return an argument: names as `"@name"`, lists of them, or a value."""
    sources = source if isinstance(source, list) else [source]
    return {
        "arguments": [
            {"name": one[1:]} if isinstance(one, str) and one.startswith("@") else
            {"value": written(one)}
            for one in sources
        ]
    }  # fmt: skip


def call(
    operation: str,
    outputs: Mapping[str, tuple[str, Sequence[int | None]]],
    blocks: Sequence[Mapping[str, Any]] = (),
    attributes: Mapping[str, Any] | None = None,
    **inputs: Any,
) -> dict[str, Any]:
    """Return an operation that computes outputs (name -> type) from inputs."""
    named = {name: written(value) for name, value in (attributes or {}).items()}
    return {
        "type": operation,
        "inputs": {name: binding(source) for name, source in inputs.items()},
        "outputs": [{"name": n, "type": tensor_type(*kind)} for n, kind in outputs.items()],
        "blocks": list(blocks),
        "attributes": {"name": written(operation), **named},
    }


def block(
    operations: Sequence[Mapping[str, Any]],
    outputs: Sequence[str],
    inputs: Mapping[str, tuple[str, Sequence[int | None]]] | None = None,
) -> dict[str, Any]:
    named = [{"name": n, "type": tensor_type(*kind)} for n, kind in (inputs or {}).items()]
    return {"inputs": named, "outputs": list(outputs), "operations": list(operations)}


def program(
    operations: Sequence[Mapping[str, Any]],
    outputs: Sequence[str] = ("scores",),
    given: tuple[str, Sequence[int | None]] = ("FLOAT32", (None, 2)),
    opset: str = "CoreML7",
) -> dict[str, Any]:
    """Return a program over `features`."""
    function = {
        "inputs": [{"name": "features", "type": tensor_type(*given)}],
        "opset": opset,
        "block_specializations": {opset: block(operations, outputs)},
    }
    return {"version": 1, "functions": {"main": function}}


def array_feature(
    name: str, dtype: str, shape: Sequence[int] = (), most_rows: int = 0
) -> dict[str, Any]:
    """Return an input or output; with `most_rows`, the first dimension is from 1 to so many."""
    array: dict[str, Any] = {"shape": list(shape), "dataType": dtype}
    if most_rows:
        sizes = [(1, most_rows), *((n, n) for n in shape[1:])]
        ranges = [{"lowerBound": low, "upperBound": high} for low, high in sizes]
        array["shapeRange"] = {"sizeRanges": ranges}
    return {"name": name, "type": {"multiArrayType": array}}


def model(
    body: Mapping[str, Any],
    given: tuple[str, Sequence[int | None]] = ("FLOAT32", (None, 2)),
    made: str = "FLOAT32",
    version: int = 8,
) -> dict[str, Any]:
    """Return the model of a program."""
    dtype, shape = given
    sizes = [1 if n is None else n for n in shape]
    feature = array_feature("features", dtype, sizes, 4096 if None in shape else 0)
    description = {"input": [feature], "output": [array_feature("scores", made)]}
    return {"specificationVersion": version, "description": description, "mlProgram": body}


def manifest(*, with_weights: bool) -> bytes:
    def item(name: str) -> dict[str, str]:
        path = f"com.apple.CoreML/{name}"
        return {"author": "com.apple.CoreML", "description": "", "name": name, "path": path}

    items = {MODEL_ID: item("model.mlmodel")}
    if with_weights:
        items[WEIGHTS_ID] = item("weights")
    facts = {"fileFormatVersion": "1.0.0", "itemInfoEntries": items}
    return json.dumps({**facts, "rootModelIdentifier": MODEL_ID}).encode()


def package(body: Mapping[str, Any], weights: bytes = b"") -> dict[str, bytes]:
    """Return the members of the package of a model."""
    members = {
        "Manifest.json": manifest(with_weights=bool(weights)),
        f"{PREFIX}/model.mlmodel": encode("Model", body),
    }
    return members | ({f"{PREFIX}/weights/weight.bin": weights} if weights else {})


def weight_file(*records: tuple[int, bytes, int]) -> bytes:
    """Return a weight file of records: type, data, unused bits."""
    out = struct.pack("<II56x", len(records), 2)
    for kind, data, unused_bits in records:
        out += b"\0" * (-len(out) % 64)
        out += struct.pack("<IIQQQ32x", 0xDEADBEEF, kind, len(data), len(out) + 64, unused_bits)
        out += data
    return out


def evaluate(
    operation: str,
    *outputs: tuple[str, Sequence[int | None]],
    opset: str = "CoreML7",
    weights: bytes = b"",
    attributes: Mapping[str, Any] | None = None,
    **inputs: Any,
) -> list[np.ndarray]:
    """Return what one operation gives for constant inputs."""
    names = [f"out_{k}" for k in range(len(outputs))]
    made = call(operation, dict(zip(names, outputs, strict=True)), attributes=attributes, **inputs)
    body = encode("MILSpec.Program", program([made], names, opset=opset))
    files = {"weight.bin": weights} if weights else {}
    read = read_program(read_message(body, "MILSpec.Program"), files)
    found = run_program(read, {"features": np.zeros((1, 2), np.float32)})
    return [found[name] for name in names]
