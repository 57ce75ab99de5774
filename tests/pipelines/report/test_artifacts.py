from pipelines.report.artifacts import artifact_tables
from registry.gates import GateRow

RECORD = (
    GateRow("causality", 0.0, "<=", 1e-9),
    GateRow("parity.native.fp32", 0.0, "<=", 0.0, "30 rows on cpu against native"),
    GateRow("parity.coreml.fp32", 1e-7, "<=", 1e-5, "30 rows on coreml_reference against native"),
    GateRow("parity.coreml.fp32", 0.2, "<=", 1e-5, "30 rows on another against native"),
    GateRow("parity.coreml.fp32.extremes", 2e-6, "<=", 1e-4),
    GateRow("parity.coreml.fp32.labels", 0.9995, ">=", 0.999),
    GateRow("parity.coreml.fp16", None, "<=", 2e-3, "dropped: 0.004", applicable=False),
)
PACKAGE = "coreml/model.mlpackage"


def test_each_artifact_has_its_bytes_its_worst_difference_or_a_reason(tmp_path):
    content = {
        "native/model.ubj": b"12345",
        f"{PACKAGE}/Manifest.json": b"123",
        f"{PACKAGE}/Data/com.apple.CoreML/model.mlmodel": b"1234",
        "decoder.json": b"{}",
    }
    for name, payload in content.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(payload)
    tables = artifact_tables(RECORD, tmp_path)
    assert tables["artifacts"].rows() == [
        ("native.fp32", 5, 0.0, 0.0, None, None, "30 rows on cpu against native"),
        ("coreml.fp32", 7, 0.2, 1e-5, 2e-6, 0.9995, "30 rows on another against native"),
        ("coreml.fp16", None, None, None, None, None, "dropped: 0.004"),
    ]
    assert dict(tables["files"].rows()) == {name: len(c) for name, c in content.items()}


def test_a_record_from_before_variants_has_no_such_tables(tmp_path):
    assert artifact_tables((GateRow("parity.onnx", 0.0, "<=", 1e-4),), tmp_path) == {}
