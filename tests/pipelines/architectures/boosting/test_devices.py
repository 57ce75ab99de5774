import pytest

from pipelines.architectures import FitContext
from pipelines.architectures.boosting import devices


class LibraryError(Exception):
    pass


def fit(on_gpu):
    return "gpu" if on_gpu else "cpu"


def broken_gpu(on_gpu):
    if on_gpu:
        raise LibraryError("no kernel image\nsecond line")
    return "cpu"


def run(monkeypatch, device, is_here, unsupported=None, fit=fit):
    said = []
    monkeypatch.setattr(devices, "has_gpu", lambda: is_here)
    context = FitContext("fold 3", device=device, notice=said.append)
    return devices.fit_on_best(context, "lib", unsupported, fit, LibraryError), said


@pytest.mark.parametrize(
    ("device", "is_here", "expected"),
    [("auto", True, "gpu"), ("cuda", True, "gpu"), ("auto", False, "cpu"), ("cpu", True, "cpu")],
)
def test_a_gpu_is_used_where_it_is_wanted_and_here(monkeypatch, device, is_here, expected):
    assert run(monkeypatch, device, is_here) == (expected, [])


@pytest.mark.parametrize(
    ("device", "is_here", "unsupported", "fit", "reason"),
    [
        ("cuda", False, None, fit, "no NVIDIA GPU is here"),
        ("mps", True, None, fit, "it has no kernels for mps"),
        ("auto", True, "this build has no CUDA", fit, "this build has no CUDA"),
        ("auto", True, None, broken_gpu, "no kernel image"),
    ],
)
def test_a_fit_that_falls_to_the_cpu_says_why(
    monkeypatch, device, is_here, unsupported, fit, reason
):
    found, said = run(monkeypatch, device, is_here, unsupported, fit)
    assert found == "cpu"
    assert said == [f"fold 3: lib fits on the CPU, not on a GPU: {reason}"]


def test_what_fails_on_the_cpu_is_raised(monkeypatch):
    def broken(_):
        raise LibraryError("bad rows")

    with pytest.raises(LibraryError, match="bad rows"):
        run(monkeypatch, "auto", False, fit=broken)
