"""The written TorchScript file: any device, any batch size, nothing of the machine that made it."""

import io
import json
import warnings
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.architectures import ARCHITECTURES, Objective, TrainingRows
from registry.backends import BACKENDS
from registry.errors import UnreadableArtifactError, UnsupportedModelError
from registry.flavors import Artifact, NativeModel, torchscript
from registry.flavors.programs import open_program, save_program
from registry.flavors.scripts import open_script
from registry.flavors.torchscript import FILE, FLAVOR, trace_program
from tests.examples import make_contract

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.integration]

WINDOW, N_FEATURES = 4, 3
BATCHES = (1, 2, 7, 2048)
NETWORKS = [
    name for name in ARCHITECTURES if ARCHITECTURES.get(name).native_format == "torch-export"
]
QUICK = {"epochs": 1, "hidden": 8}


class Recurrent(nn.Module):
    """Starts from a state of the batch's size, divides by a number and looks at no element."""

    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(N_FEATURES, 5, batch_first=True)
        self.head = nn.Linear(5, 1)

    def forward(self, features):
        return self.head(self.cells(features / 5)[0][:, -1])


class Devices(nn.Module):
    """Makes tensors of the batch's size and of sizes that are known, and picks by a list."""

    def forward(self, features):
        n_rows, n_features = features.shape
        order = torch.arange(n_features, dtype=torch.float32) + torch.full((1,), 2.0)
        number = torch.arange(n_rows).to("cpu", torch.float32).unsqueeze(1)
        moved = features * order + torch.full((n_rows, 1), 0.5) + torch.ones(n_rows, n_features)
        return (moved + number).reshape(n_rows, n_features, 1)[:, [2, 0], 0]


def program(module, *row_shape):
    torch.manual_seed(0)
    return NativeModel("torch-export", save_program(module().eval(), row_shape))


@pytest.fixture(scope="module")
def recurrent():
    return program(Recurrent, WINDOW, N_FEATURES)


@pytest.fixture(scope="module")
def payload(recurrent):
    return FLAVOR.write(recurrent, None)[FILE]


@pytest.fixture
def contract():
    names = tuple(f"f{i}" for i in range(N_FEATURES))
    return make_contract(feature_names=names, window=WINDOW, native_format="torch-export")


def load(payload, contract):
    return BACKENDS.get("cpu").load(Artifact("torchscript"), {FILE: payload}, contract)


def check_moves_and_agrees(native, row_shape):
    """The file gives the program's scores at each batch size, and runs where no CPU tensor may."""
    payload = FLAVOR.write(native, None)[FILE]
    script, moved = open_script(payload, "cpu"), open_script(payload, "meta")
    exported = open_program(native.payload).module()
    rng = np.random.default_rng(0)
    with torch.inference_mode():
        for n_rows in BATCHES:
            rows = torch.tensor(rng.standard_normal((n_rows, *row_shape)), dtype=torch.float32)
            torch.testing.assert_close(script(rows), exported(rows), rtol=0, atol=1e-5)
    scores = moved(torch.zeros(3, *row_shape, device="meta"))
    assert scores.device.type == "meta"
    assert scores.shape == exported(torch.zeros(3, *row_shape)).shape


def test_a_recurrent_network_takes_any_batch_on_any_device(recurrent):
    check_moves_and_agrees(recurrent, (WINDOW, N_FEATURES))


def test_tensors_that_a_program_makes_move_with_it():
    check_moves_and_agrees(program(Devices, N_FEATURES), (N_FEATURES,))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "pretrained_text"])
def test_every_network_takes_any_batch_on_any_device(name):
    architecture = ARCHITECTURES.get(name)
    row_shape = (WINDOW, N_FEATURES) if architecture.default_window > 1 else (N_FEATURES,)
    X = np.random.default_rng(1).standard_normal((64, *row_shape)).astype(np.float32)
    rows = TrainingRows(X, X.reshape(64, -1)[:, 0].astype(np.float64), np.ones(64))
    loss = architecture.objectives[0]
    objective = Objective(loss, {"softmax": 3, "states": 0}.get(loss, 1))
    if loss in ("softmax", "gamma"):
        rows = TrainingRows(X, np.arange(64) % 3 + 0.0 + (loss == "gamma"), np.ones(64))
    known = architecture.parameters(objective)
    chosen = {key: value for key, value in QUICK.items() if key in known}
    native = architecture.fit(rows, objective, chosen, 0).native()
    check_moves_and_agrees(native, row_shape)


@pytest.mark.slow
def test_a_transformer_of_texts_takes_any_batch_on_any_device():
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16}
    config = transformers.BertConfig(
        vocab_size=30, num_labels=3, num_attention_heads=2, attn_implementation="eager", **sizes
    )
    model = transformers.BertForSequenceClassification(config).eval()

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, tokens):
            numbers = tokens.abs().to(torch.int64)
            attended = (numbers != 0).to(torch.int64)
            return self.model(input_ids=numbers, attention_mask=attended).logits[:, [2, 0, 1]]

    check_moves_and_agrees(program(Classifier, 12), (12,))


# What is in the file ---------------------------------------------------------------------------


def members(payload):
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def test_the_same_program_gives_the_same_bytes(recurrent, payload):
    assert FLAVOR.write(recurrent, None) == {FILE: payload}


def test_no_number_becomes_a_tensor_and_no_class_is_counted(payload):
    (code,) = [text for name, text in members(payload).items() if name.endswith(".py")]
    assert b"CONSTANTS" not in code
    assert b"torch_mangle" not in payload
    assert not [name for name in members(payload) if name.startswith("archive/constants/")]


def test_nothing_is_warned_about_and_threads_stay(recurrent, contract):
    before = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = load(FLAVOR.write(recurrent, None)[FILE], contract)(
            np.zeros((5, WINDOW, N_FEATURES), np.float32)
        )
    assert scores.shape == (5, 1)
    assert torch.get_num_threads() == before


def test_the_trace_for_other_converters_is_unfrozen_and_takes_any_batch(recurrent):
    script = trace_program(recurrent.payload)
    assert len(list(script.parameters())) == 6
    assert script(torch.zeros(9, WINDOW, N_FEATURES)).shape == (9, 1)


# What is refused -------------------------------------------------------------------------------


class Random(nn.Module):
    """Makes a tensor in a way that cannot be moved."""

    def forward(self, features):
        return features + torch.rand(features.shape[0], 1)


class Pair(nn.Module):
    """Gives two tensors."""

    def forward(self, features):
        return features, features + 1


class Double(nn.Module):
    """Computes in float64."""

    def forward(self, features):
        return features.double().sum(1).float()


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Double, "to is float64"),
        (Random, "aten.rand.default fixes a device"),
        (Pair, "1 inputs and 2 outputs"),
    ],
)
def test_what_cannot_move_is_refused_by_name(module, reason):
    with pytest.raises(UnsupportedModelError, match=reason):
        FLAVOR.write(program(module, N_FEATURES), None)


@pytest.mark.parametrize("format_", ["xgboost-ubj", "lightgbm-txt", "catboost-cbm", "arrays"])
def test_what_is_no_network_is_refused(format_):
    with pytest.raises(UnsupportedModelError, match="only a network of torch"):
        FLAVOR.write(NativeModel(format_, b""), None)


def test_a_trace_that_keeps_its_batch_size_is_refused_before_it_runs(recurrent, monkeypatch):
    class Fixed(nn.Module):
        def forward(self, features):
            return features.sum() + torch.zeros(int(features.shape[0]), 1)

    monkeypatch.setattr(torchscript, "movable_graph", lambda _: Fixed())
    with (
        warnings.catch_warnings(action="ignore", category=torch.jit.TracerWarning),
        pytest.raises(UnsupportedModelError, match="keeps the batch size of the example"),
    ):
        FLAVOR.write(recurrent, None)


def test_a_trace_that_keeps_its_device_is_refused(recurrent, monkeypatch):
    class Fixed(nn.Module):
        def forward(self, features):
            return features[:, 0, :1] + torch.zeros(1)

    monkeypatch.setattr(torchscript, "movable_graph", lambda _: Fixed())
    with pytest.raises(UnsupportedModelError, match="fails with 1 rows on meta"):
        FLAVOR.write(recurrent, None)


def with_(payload, name, content):
    return packed({**members(payload), name: content}.items())


def saved_state(_):
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, buffer)
    return buffer.getvalue()


def twice(payload):
    with pytest.warns(UserWarning, match="Duplicate name"):
        return packed([*members(payload).items(), ("archive/version", b"6\n")])


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda _: b"", "not a TorchScript archive"),
        (lambda _: b"PK garbage" * 9, "not a TorchScript archive"),
        (lambda payload: payload[: len(payload) // 2], "not a TorchScript archive"),
        (lambda _: packed([("archive/version", b"6")]), "not a TorchScript archive"),
        (lambda payload: payload + b"more", "its members account for"),
        (lambda payload: b"more" + payload, "its members account for"),
        (saved_state, "unknown member"),
        (lambda payload: with_(payload, "archive/../../evil", b""), "unknown member"),
        (lambda payload: with_(payload, "/archive/version", b"6\n"), "unknown member"),
        (lambda payload: with_(payload, "archive/extra/payload", b""), "unknown member"),
        (lambda payload: packed(members(payload).items(), 8), "a member is compressed"),
        (twice, "stands in it twice"),
        (
            lambda payload: with_(
                with_(payload, "archive/version", b"99\n"), "archive/extra/torch_version", b"9.9.0"
            ),
            r"torch 9\.9\.0 wrote it, torch \d+\.\d+\.\d+ cannot load it",
        ),
    ],
)
def test_a_damaged_file_is_one_clear_line(payload, contract, damage, cause):
    with pytest.raises(UnreadableArtifactError, match=cause) as caught:
        load(damage(payload), contract)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_model_is_refused(contract):
    flat = FLAVOR.write(program(lambda: nn.Linear(9, 1), 9), None)[FILE]
    with pytest.raises(UnreadableArtifactError, match=r"rows of shape \(4, 3\)"):
        load(flat, contract)
    wide = FLAVOR.write(program(lambda: nn.Linear(N_FEATURES, 2), N_FEATURES), None)[FILE]
    with pytest.raises(UnreadableArtifactError, match="the contract says 1"):
        load(wide, contract)


def test_a_program_of_another_torch_says_which(recurrent):
    files = members(recurrent.payload)
    described = json.loads(files["archive/models/model.json"])
    described |= {"torch_version": "9.9.0", "schema_version": {"major": 99, "minor": 0}}
    later = with_(recurrent.payload, "archive/models/model.json", json.dumps(described).encode())
    with pytest.raises(UnreadableArtifactError, match=r"torch 9\.9\.0 wrote it, torch .* cannot"):
        FLAVOR.write(NativeModel("torch-export", later), None)
