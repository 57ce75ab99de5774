import numpy as np
import pytest
import torch

from pipelines.architectures import FitContext
from pipelines.synthetic import series_gan
from pipelines.synthetic.series_gan import HALF_LIVES, NOISE, REACH, WINDOW, Generator, Memory
from pipelines.synthetic.stylised_facts import (
    absolute_autocorrelation,
    leverage,
    linear_autocorrelation,
)
from pipelines.synthetic.wgan import WganPlan
from registry.errors import FitError

pytestmark = pytest.mark.xdist_group("torch")  # its compiler takes seconds to import

PLAN = WganPlan(epochs=2, batch_size=32, learning_rate=1e-3, n_threads=1)


def windows(n=64, n_channels=2, seed=0):
    return np.random.default_rng(seed).standard_normal((n, WINDOW, n_channels))


def test_memory_is_an_exponential_average_of_earlier_steps():
    series = np.random.default_rng(0).standard_normal(90)
    found = Memory(90, 30)(torch.tensor(series[None, None], dtype=torch.float32))[0].numpy()
    for row, half_life in zip(found, HALF_LIVES, strict=True):
        decay, average = 0.5 ** (1 / half_life), 0.0
        expected = []
        for value in series:
            expected.append(average)
            average = decay * average + (1 - decay) * value
        np.testing.assert_allclose(row, expected[60:], atol=1e-5)


def test_a_step_knows_no_later_noise_and_a_return_has_no_level():
    torch.manual_seed(0)
    generator = Generator(2)
    noise = torch.randn(1, NOISE, REACH + WINDOW)
    later = noise.clone()
    later[:, :, REACH + 10 :] += 1.0
    with torch.no_grad():
        before, after = generator(noise), generator(later)
        flipped = noise.clone()
        flipped[:, :, REACH:] = 0.0
        generator.shock.out.weight.zero_()
        level = generator(flipped)
    assert torch.equal(before[:, :, :10], after[:, :, :10])
    assert not torch.equal(before[:, :, 10], after[:, :, 10])
    assert torch.equal(level[:, 0], torch.zeros(1, WINDOW))
    assert level[:, 1].abs().max() > 0  # of the other channel only


def test_a_long_series_has_the_distribution_of_the_real_bars():
    real = np.random.default_rng(0).gamma(2.0, 1.0, (64, WINDOW, 1))
    drawn = series_gan.fit(real, PLAN, 0).series(20_000, 3)
    for share in (0.05, 0.5, 0.95):
        assert np.quantile(drawn, share) == pytest.approx(np.quantile(real, share), rel=0.15)
    assert real.min() <= drawn.min() <= drawn.max() <= real.max()


def test_windows_of_a_long_series_follow_one_another_in_the_same_noise():
    gan = series_gan.fit(windows(), PLAN, 0)
    short = series_gan._run(gan.generator, WINDOW + 5, 3)
    draws = torch.Generator().manual_seed(3)
    noise = torch.randn(NOISE, REACH + 2 * WINDOW, generator=draws)
    with torch.no_grad():
        window = gan.generator(noise[None, :, WINDOW:])[0].T.numpy()
    np.testing.assert_allclose(short[WINDOW:], window[:5], atol=1e-5)


def test_the_same_seed_gives_bitwise_the_same_bars_and_another_does_not():
    drawn = [series_gan.fit(windows(), PLAN, seed).series(100, 0) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[0] - drawn[2]).max() > 1e-3


def test_every_epoch_reports_the_critics_loss_and_distance():
    seen = []
    context = FitContext(report=lambda epoch, metrics: seen.append((epoch, set(metrics))))
    series_gan.fit(windows(64), PLAN, 0, context)
    assert seen == [(1, {"critic_loss", "wasserstein"}), (2, {"critic_loss", "wasserstein"})]


def test_an_untrained_generator_is_an_exponential_garch():
    torch.manual_seed(0)
    generator = Generator(1)
    with torch.no_grad():
        generator.state.out.weight.zero_()
        generator.shock.out.weight.zero_()
    drawn = series_gan._run(generator, 20_000, 0)[:, 0]
    assert absolute_autocorrelation(drawn) > 0.05
    assert leverage(drawn) < -0.01
    assert linear_autocorrelation(drawn) < 0.02


def test_too_few_windows_and_a_diverging_game_are_errors():
    with pytest.raises(FitError, match="20 samples, a batch of 32 needed"):
        series_gan.fit(windows(20), PLAN, 0)
    broken = windows()
    broken[3] = np.nan
    with pytest.raises(FitError, match="the loss is nan after epoch 1"):
        series_gan.fit(broken, PLAN, 0)


def test_fitting_leaves_torchs_random_state_alone():
    before = torch.random.get_rng_state()
    series_gan.fit(windows(64), PLAN, 0)
    assert torch.equal(torch.random.get_rng_state(), before)
