import pytest

from registry.backends import LatencyCurve
from registry.errors import BackendUnavailableError, UnknownNameError
from registry.flavors import Artifact
from serving.router import Option, choose


def option(flavor, backend="cpu", latency_ms=(1.0, 1.0)):
    curve = LatencyCurve(flavor, "fp32", backend, (1, 1000), latency_ms)
    return Option(Artifact(flavor), backend, lambda features: features, curve)


QUICK_FOR_ONE = option("onnx", latency_ms=(0.015, 12.0))
QUICK_FOR_MANY = option("native", latency_ms=(0.4, 4.0))
ELSEWHERE = option("torchscript", backend="gpu", latency_ms=(0.001, 0.001))


def test_the_fastest_measured_for_the_batch_size_answers():
    options = (QUICK_FOR_ONE, QUICK_FOR_MANY)
    assert choose(options, 1).option is QUICK_FOR_ONE
    assert choose(options, 1000).option is QUICK_FOR_MANY
    assert choose(options, 100_000).option is QUICK_FOR_MANY


def test_without_measurements_the_preferred_answers():
    unmeasured = Option(Artifact("onnx"), "cpu", lambda features: features)
    assert choose((unmeasured, QUICK_FOR_MANY), 1000).option is unmeasured


def test_a_wanted_backend_is_used_although_another_is_faster():
    route = choose((QUICK_FOR_ONE, ELSEWHERE), 1, backend="cpu")
    assert route.option is QUICK_FOR_ONE
    assert route.fallback is None


def test_an_absent_backend_falls_back_and_says_why():
    route = choose((QUICK_FOR_ONE,), 1, backend="neural_engine")
    assert route.option is QUICK_FOR_ONE
    assert "backend 'neural_engine' is not available here" in str(route.fallback)


def test_strict_makes_an_absent_backend_an_error():
    with pytest.raises(BackendUnavailableError, match="no backend for Apple"):
        choose((QUICK_FOR_ONE,), 1, backend="neural_engine", strict=True)


def test_a_name_that_no_hardware_has_is_an_error_although_not_strict():
    with pytest.raises(UnknownNameError, match="known: coreml_reference, cpu, cuda_gpu, metal"):
        choose((QUICK_FOR_ONE,), 1, backend="abacus")
