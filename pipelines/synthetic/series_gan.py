"""Generator and critic of bar channels: volatility that remembers, times fresh shocks.

The generator has the stochastic-volatility form of Quant GANs (Wiese et al. 2020): what happened
before gives level and volatility of the next bar, the newest noise gives the shock, so a return is
volatility times shock. It starts as an exponential GARCH with leverage and learns from there.
Memory is a bank of exponential averages, half-lives from 1 to 50 bars, of learned functions of past
noise, instead of deep dilated convolutions: those took ten times as long on a processor. Noise of
any length gives a series of any length. The critic keeps the same kind of memory of the channels
and of their absolute values.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.architectures import QUIET, FitContext
from pipelines.architectures.networks import built
from pipelines.architectures.torch_nets.torch_estimator import threads
from pipelines.synthetic.wgan import WganPlan, train

NOISE = 8
"""Noise values per bar, the first of which start as the channels' shocks."""

HALF_LIVES = (1.0, 3.0, 8.0, 20.0, 50.0)
"""Half-lives of the exponential averages, in bars."""

REACH = 150
"""Level and volatility depend on this many bars of noise before the newest."""

WINDOW = 64
"""Bars that the critic sees at once."""

HIDDEN, MEMORIES = 32, 8
SMALL = 0.1
CAP = 2.0
"""Limit of log volatility, so that no step is larger than e^2 times its shock."""

MEAN_SIZE = 0.7979
"""Mean |z| of a standard normal z."""

IMPACT = ((0.0, 0.5, 1.2, 1.6, 2.0), (0.0, -0.15, -0.3, -0.3, 0.0))
"""What the averages of |z| - E|z| and of z of the first noise add to log volatility at the start,
by half-life: the form of exponential GARCH (Nelson 1991), sizes that daily indices show."""

LONG_RUN = 50_000
QUANTILES = np.linspace(0.0, 1.0, 1001)
"""Quantiles at which the distribution of new bars is bent to the real one."""


class Pointwise(nn.Module):
    """The same perceptron at every step: (sample, n_in, step) -> (sample, n_out, step)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(n_in, HIDDEN), nn.Linear(HIDDEN, n_out)

    def forward(self, series: Tensor) -> Tensor:
        hidden = nn.functional.silu(self.hidden(series.transpose(1, 2)))
        return cast(Tensor, self.out(hidden)).transpose(1, 2)


class Memory(nn.Module):
    """Averages of the steps before each: (sample, channel, n_in) -> (sample, n_averages, n_out).

    Output step i sees input steps before n_in - n_out + i, those at it left out.
    """

    kernel: Tensor

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.n_out = n_out
        newest = torch.arange(n_in - n_out, n_in)
        age = newest[None] - 1 - torch.arange(n_in)[:, None]  # (n_in, n_out), 0 for the step before
        decay = torch.tensor([0.5 ** (1 / h) for h in HALF_LIVES])[:, None, None]
        weight = torch.where(age >= 0, (1 - decay) * decay ** age.clamp(min=0), torch.zeros(()))
        self.register_buffer("kernel", weight.permute(1, 0, 2).reshape(n_in, -1))

    def forward(self, series: Tensor) -> Tensor:
        averages = series @ self.kernel
        n_averages = series.shape[1] * len(HALF_LIVES)
        return averages.reshape(len(series), n_averages, self.n_out)


class Generator(nn.Module):
    """Noise (sample, NOISE, REACH + WINDOW) -> channels (sample, channel, WINDOW).

    Channel 0, the return, has no level of its own.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.event = Pointwise(NOISE, MEMORIES)
        self.memory = Memory(REACH + WINDOW, WINDOW)
        self.state = Pointwise(MEMORIES * len(HALF_LIVES), 2 * n_channels)
        self.shock = Pointwise(NOISE, n_channels)
        self.impact = nn.Parameter(torch.tensor(IMPACT).flatten().repeat(n_channels, 1))
        self.n_channels = n_channels
        with torch.no_grad():  # start from the exponential GARCH that `impact` is
            for last in (self.state.out, self.shock.out):
                last.weight.mul_(SMALL)
                last.bias.zero_()

    def forward(self, noise: Tensor) -> Tensor:
        volatility, level = self.state(self.memory(self.event(noise))).chunk(2, dim=1)
        size = noise[:, :1].abs() - MEAN_SIZE
        volatility = volatility + self.impact @ self.memory(torch.cat((size, noise[:, :1]), dim=1))
        volatility = torch.exp(CAP * torch.tanh(volatility / CAP))
        level = torch.cat((torch.zeros_like(level[:, :1]), level[:, 1:]), dim=1)
        newest = noise[:, :, REACH:]
        shock: Tensor = newest[:, : self.n_channels] + self.shock(newest)
        return level + volatility * shock


class Critic(nn.Module):
    """Channels (sample, channel, WINDOW) -> score (sample,), the mean over steps.

    A step is judged by itself and by what came before it in the window.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.event = Pointwise(2 * n_channels, MEMORIES)
        self.memory = Memory(WINDOW, WINDOW)
        self.verdict = Pointwise(2 * n_channels + MEMORIES * len(HALF_LIVES), 1)

    def forward(self, series: Tensor) -> Tensor:
        seen = torch.cat((series, series.abs()), dim=1)
        before = self.memory(self.event(seen))
        return cast(Tensor, self.verdict(torch.cat((seen, before), dim=1))).mean(dim=(1, 2))


@dataclass(frozen=True, slots=True)
class SeriesGan:
    """A fitted generator, with the quantiles of its channels in the long run and the real ones.

    The network has learned how bars depend on one another; the distribution of a single bar is
    the real one, by quantiles (n_quantiles, n_channels): no bar is beyond the real extremes.
    """

    generator: Generator
    made: NDArray[np.float64]
    real: NDArray[np.float64]

    def series(self, n_bars: int, seed: int) -> NDArray[np.float64]:
        """Return one series of channels (n_bars, n_channels)."""
        drawn = _run(self.generator, n_bars, seed)
        return np.column_stack(
            [
                np.interp(column, made, real)
                for column, made, real in zip(drawn.T, self.made.T, self.real.T, strict=True)
            ]
        )


def fit(
    windows: NDArray[np.float64], plan: WganPlan, seed: int, context: FitContext = QUIET
) -> SeriesGan:
    """Fit a generator to windows of channels, (n, WINDOW, n_channels), of about unit scale.

    Raises:
        FitError: too few windows for a batch, or a loss that is not finite.
    """
    real = torch.from_numpy(np.ascontiguousarray(windows.transpose(0, 2, 1), np.float32))
    n_channels = real.shape[1]
    generator = built(lambda: Generator(n_channels), seed)
    critic = built(lambda: Critic(n_channels), seed + 1)

    def noise(n: int) -> Tensor:
        return torch.randn(n, NOISE, REACH + WINDOW)

    train("gan", generator, critic, real, noise, plan, seed, context)
    long_run = _run(generator, LONG_RUN, seed + 1)
    made, bars = (np.quantile(x, QUANTILES, axis=0) for x in (long_run, np.concatenate(windows)))
    return SeriesGan(generator, made, bars)


def _run(generator: Generator, n_bars: int, seed: int) -> NDArray[np.float64]:
    """Return one long series: windows of noise that overlap by `REACH`, their outputs in a row."""
    n_windows = -(-n_bars // WINDOW)
    draws = torch.Generator().manual_seed(seed)
    noise = torch.randn(NOISE, REACH + n_windows * WINDOW, generator=draws)
    windows = noise.unfold(1, REACH + WINDOW, WINDOW).transpose(0, 1)
    with torch.inference_mode(), threads(1):
        made = generator(windows).permute(0, 2, 1).flatten(0, 1)
    return np.asarray(made[:n_bars].numpy(), np.float64)
