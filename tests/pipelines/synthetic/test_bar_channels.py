import numpy as np
import polars as pl
import pytest
from scipy.special import lambertw

from pipelines.data.bars import check_bars
from pipelines.synthetic import bar_channels
from pipelines.synthetic.bar_channels import ChannelScale, bars_of, channel_names, channels_of
from registry.errors import TooLittleHistoryError


def test_drawing_in_is_the_lambert_w_transform_of_scipy():
    u = np.linspace(-8, 8, 101)
    expected = np.sign(u) * np.sqrt(lambertw(0.3 * u**2).real / 0.3)
    np.testing.assert_allclose(bar_channels.drawn_in(u, 0.3), expected, atol=1e-10)


def test_the_delta_and_scale_of_a_lambert_w_gaussian_are_found():
    z = np.random.default_rng(0).standard_normal(50_000)
    scale = ChannelScale.of(0.5 + 2.0 * z * np.exp(0.15 * z**2 / 2))
    assert scale.delta == pytest.approx(0.15, abs=0.01)
    assert scale.deviation == pytest.approx(2.0, rel=0.02)


def test_thin_tails_are_left_as_they_are():
    assert ChannelScale.of(np.random.default_rng(0).uniform(size=1000)).delta == 0.0


def test_gaussianised_values_have_no_excess_kurtosis_and_come_back():
    values = np.random.default_rng(0).standard_t(4, 5000) * 0.01
    scale = ChannelScale.of(values)
    z = scale.apply(values)
    assert np.mean(z**4) / np.mean(z**2) ** 2 == pytest.approx(3.0, abs=0.1)
    assert z.std() == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(scale.undo(z), values, rtol=1e-6, atol=1e-9)


def test_real_bars_come_back_from_their_channels(make_series):
    series = make_series(400)
    channels = channels_of(series, channel_names([series]))
    assert channels.names == ("return", "gap", "upper_wick", "lower_wick", "volume")
    again = bars_of(channels, channels.gaussianised)
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(again[name].to_numpy(), getattr(series, name)[1:], rtol=1e-6)
    ours, theirs = np.log(again["volume"].to_numpy()), np.log(series.volume[1:])
    assert np.corrcoef(np.diff(ours), np.diff(theirs))[0, 1] > 0.999


def test_closes_alone_have_one_channel_and_make_closes(make_series):
    series = make_series(300, closes_only=True)
    channels = channels_of(series, channel_names([series]))
    assert channels.names == ("return",)
    assert bars_of(channels, channels.gaussianised).columns == ["close"]


def test_whatever_a_network_says_makes_valid_bars(make_series):
    series = make_series(300)
    channels = channels_of(series, channel_names([series]))
    wild = 4 * np.random.default_rng(0).standard_normal((500, 5))
    made = bars_of(channels, wild).with_columns(
        pl.lit("AAA").alias("symbol"),
        pl.datetime_range(
            pl.datetime(2000, 1, 1), pl.datetime(2000, 1, 1) + pl.duration(days=499), "1d"
        ).alias("timestamp"),
    )
    checked, repairs = check_bars(made, policy="strict", where="test")
    assert len(checked) == 500
    assert repairs == ()


def test_one_bar_is_too_few(make_series):
    with pytest.raises(TooLittleHistoryError):
        channels_of(make_series(1), ("return",))
