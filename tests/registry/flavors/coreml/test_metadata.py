"""Metadata: what a person reads about a package."""

from importlib.util import find_spec

import pytest

from pipelines.templates import TEMPLATES
from registry.flavors.coreml import FLAVOR
from registry.flavors.coreml.metadata import DECODER, PRECISION, SCORES, describe
from tests.examples import make_contract

pytestmark = [
    pytest.mark.xdist_group("coreml"),
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed"),
]


def described(variant="fp32", **changes):
    from coremltools.proto import Model_pb2

    specification = Model_pb2.Model()
    specification.description.input.add(name="features")
    specification.description.output.add(name="scores")
    describe(specification, make_contract(**changes), variant)
    return specification.description


def test_every_template_and_every_variant_has_its_words():
    assert set(SCORES) == set(DECODER) == set(TEMPLATES)
    assert set(PRECISION) == {*FLAVOR.variants, *FLAVOR.compressions}


def test_a_package_says_who_made_it_what_it_takes_and_what_it_gives():
    found = described(window=32, architecture="lstm")
    metadata = found.metadata
    assert metadata.author == "Nautilus ML Engine"
    assert metadata.versionString == f"volatility_forecast {'c' * 12}"
    assert metadata.license.startswith("Apache-2.0")
    assert metadata.shortDescription.startswith("volatility_forecast by lstm. ")
    assert metadata.userDefined["features"] == "return_1, volatility_5"
    assert metadata.userDefined["scores"] == SCORES["volatility_forecast"]
    assert metadata.userDefined["decoder"] == DECODER["volatility_forecast"]
    assert metadata.userDefined["precision"] == "float32"
    assert metadata.userDefined["data"] == "sample, 1990-01-02 to 2006-12-29"
    assert found.input[0].shortDescription.startswith("2 features in the order of")
    assert "for 32 steps, the newest last" in found.input[0].shortDescription
    assert SCORES["volatility_forecast"] in found.output[0].shortDescription


def test_a_template_of_another_distribution_is_described_as_well():
    found = described(template="their_own", interval="", horizon="", symbols=())
    assert found.metadata.userDefined["scores"] == "raw scores of the template"
    assert not {"interval", "horizon", "symbols"} & set(found.metadata.userDefined)


def test_thousands_of_names_are_cut():
    names = tuple(f"word_{i}" for i in range(4096))
    assert (
        described(feature_names=names)
        .metadata.userDefined["features"]
        .endswith("word_199 and 3896 more")
    )
