"""A tiny random BERT with a vocabulary of its own, as a user's folder would hold it."""

import importlib.util
import json
import os

import numpy as np
import pytest

from pipelines.architectures import Objective, TrainingRows
from pipelines.architectures.pretrained_text import PRETRAINED_TEXT
from pipelines.data.texts.text_encoders import make
from registry.backends import BACKENDS
from registry.errors import FitError, MissingPackageError, ParameterError
from registry.flavors import FLAVORS, Artifact
from tests.examples import make_contract

pytestmark = pytest.mark.integration

N_TOKENS = 16
CLASSES = Objective("softmax", 3)
WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "shares",
    "plunge",
    "after",
    "impair",
    "##ment",
    "rose",
)
TEXTS = ["shares plunge after impairment", "shares rose", "zzz", "shares " * 40]
HAS_IT = importlib.util.find_spec("transformers") is not None


def needs_transformers():
    if not HAS_IT and os.environ.get("CI"):
        pytest.fail("transformers is not installed: pip install -r requirements.lock")
    if not HAS_IT:
        pytest.skip("transformers is not installed (extra [transformers])")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    needs_transformers()
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    path = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        initializer_range=0.5,
        id2label={0: "Positive", 1: "negative", 2: "neutral"},
        label2id={"Positive": 0, "negative": 1, "neutral": 2},
    )
    BertForSequenceClassification(config).save_pretrained(path)
    numbers = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(path / "tokenizer.json"))
    return path


@pytest.fixture(scope="module")
def encoder(folder):
    return make("tokens", N_TOKENS, {"tokenizer.json": (folder / "tokenizer.json").read_bytes()})


def fit(folder, encoder, **changed):
    X = encoder.encode(TEXTS)
    rows = TrainingRows(X, np.array([0.0, 2.0, 1.0, 0.0]), np.ones(len(X)))
    parameters = {"directory": str(folder), "max_tokens": N_TOKENS} | changed
    return PRETRAINED_TEXT.fit(rows, CLASSES, parameters, 0)


def test_texts_become_the_tokenizers_numbers_cut_and_padded(encoder):
    found = encoder.encode(TEXTS)
    assert found[0, :7].tolist() == [2, 4, 5, 6, 7, 8, 3]
    assert not found[0, 7:].any()
    assert found[2, :3].tolist() == [2, 1, 3]
    assert found[3].tolist() == [2, *[4] * 14, 3]
    np.testing.assert_array_equal(encoder.encode(TEXTS[1:2]), found[1:2])
    assert np.isnan(encoder.coverage(TEXTS)).all()


def test_scores_are_the_transformers_in_our_order(folder, encoder):
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    found = fit(folder, encoder).predict(encoder.encode(TEXTS))
    for row, text in zip(found, encoder.encode(TEXTS), strict=True):
        ids = torch.tensor([[int(n) for n in text if n]])  # alone, so without padding or mask
        with torch.inference_mode():
            expected = model(input_ids=ids).logits[0].numpy()
        np.testing.assert_allclose(row, expected[[1, 2, 0]], atol=1e-5)


@pytest.mark.parametrize("flavor", ["native", pytest.param("onnx", marks=pytest.mark.slow)])
def test_every_flavor_gives_the_same_scores(folder, encoder, tiny_contract, flavor):
    estimator, X = fit(folder, encoder), encoder.encode(TEXTS)
    content = FLAVORS.get(flavor).write(estimator.native(), tiny_contract)
    predictor = BACKENDS.get("cpu").load(Artifact(flavor), content, tiny_contract)
    np.testing.assert_allclose(predictor(X), estimator.predict(X), atol=1e-5)


@pytest.fixture
def tiny_contract():
    names = tuple(f"token_{i}" for i in range(N_TOKENS))
    return make_contract(n_scores=3, feature_names=names, native_format="torch-export")


def test_labels_may_be_named_where_the_folder_does_not(folder, encoder):
    plain = fit(folder, encoder).predict(encoder.encode(TEXTS))
    named = fit(folder, encoder, labels="negative,neutral,positive").predict(encoder.encode(TEXTS))
    np.testing.assert_allclose(named[:, [1, 2, 0]], plain, atol=1e-6)


def test_what_is_no_such_transformer_is_refused_in_one_line(folder, encoder, tmp_path):
    with pytest.raises(ParameterError, match="directory="):
        fit(tmp_path, encoder)
    with pytest.raises(ParameterError, match="labels='good,bad'"):
        fit(folder, encoder, labels="good,bad")
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ParameterError, match="a sequence classifier in safetensors") as caught:
        fit(tmp_path, encoder)
    assert "\n" not in str(caught.value)
    config = json.loads((folder / "config.json").read_text()) | {"max_position_embeddings": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ParameterError, match="max_tokens=16: expected at most 8"):
        fit(tmp_path, encoder)
    with pytest.raises(FitError, match="it knows negative, neutral and positive only"):
        rows = TrainingRows(np.zeros((2, 128), np.float32), np.zeros(2), np.ones(2))
        PRETRAINED_TEXT.fit(rows, Objective("softmax", 2), {}, 0)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingPackageError, match=r"nautilus-ml-engine\[transformers\]"):
        make("tokens", 16, {"tokenizer.json": b"{}"})
