"""WGAN-GP: a generator learns to make samples that a critic cannot tell from real ones.

The critic's loss is that of Gulrajani et al. 2017: the difference of its mean scores, plus ten
times the squared deviation of its gradient's norm from 1, between real and generated samples. The
generator is updated once for every `CRITIC_STEPS` updates of the critic. The caller gives the
networks. The loss is no measure of quality, so nothing is stopped early; the caller judges the
samples by its own figures. Fits are reproducible bit for bit on a processor.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipelines import progress
from pipelines.architectures import QUIET, FitContext
from pipelines.architectures.torch_nets import devices
from pipelines.architectures.torch_nets.torch_estimator import threads
from registry.errors import FitError

CRITIC_STEPS = 2
PENALTY = 10.0
BETAS = (0.0, 0.9)
"""Betas of Adam, as in the paper; momentum of the first moment makes the training unstable."""

Sampler = Callable[[int], Tensor]
"""Number of samples -> noise on the processor, drawn from torch's random state."""


@dataclass(frozen=True, slots=True)
class WganPlan:
    """How to fit; an epoch is one pass of the critic over the real samples."""

    epochs: int
    batch_size: int
    learning_rate: float
    n_threads: int


def train(
    name: str,
    generator: nn.Module,
    critic: nn.Module,
    real: Tensor,
    noise: Sampler,
    plan: WganPlan,
    seed: int,
    context: FitContext = QUIET,
) -> None:
    """Fit generator and critic, in place; both end on the processor, in evaluation mode.

    Reports `critic_loss` and `wasserstein` (the critic's estimate of the distance) per epoch.

    Args:
        name: of what is fitted, for error messages.
        real: samples (n, ...), on the processor; `generator(noise(n))` has the same shape.

    Raises:
        FitError: fewer samples than one batch, or a loss that is not finite.
        ParameterError: `context.device` is not here.
    """
    if len(real) < plan.batch_size:
        problem = f"{len(real)} samples, a batch of {plan.batch_size} needed"
        raise FitError(name, problem, "use more bars or a smaller batch_size")
    device = devices.choose(context.device)
    game = _Game(generator.to(device), critic.to(device), noise, plan, device)
    with threads(plan.n_threads), torch.random.fork_rng(devices=devices.seeded(device)):
        torch.manual_seed(seed)
        placed = real.to(device)
        for epoch in range(1, plan.epochs + 1):
            loss, distance = game.play(placed)
            if not math.isfinite(loss):
                hint = "lower learning_rate or check the data for extreme values"
                raise FitError(name, f"the loss is {loss} after epoch {epoch}", hint)
            metrics = {"critic_loss": loss, "wasserstein": distance}
            if context.report is not None:
                context.report(epoch, metrics)
            what = f"epoch {epoch} of {plan.epochs} (wasserstein {distance:.4g})"
            progress.report(epoch, plan.epochs, what)
    generator.cpu().eval()
    critic.cpu().eval()


class _Game:
    """Generator, critic and their optimizers."""

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        noise: Sampler,
        plan: WganPlan,
        device: torch.device,
    ) -> None:
        self._generator, self._critic, self._noise = generator, critic, noise
        self._batch_size, self._device = plan.batch_size, device
        self._optimizers = [
            torch.optim.Adam(m.parameters(), lr=plan.learning_rate, betas=BETAS)
            for m in (generator, critic)
        ]
        self._n_critic_steps = 0

    def play(self, real: Tensor) -> tuple[float, float]:
        """Take one pass over the real samples; return mean critic loss and mean distance."""
        self._generator.train()
        self._critic.train()
        totals = torch.zeros(2, device=self._device)
        order = torch.randperm(len(real)).to(self._device)
        n_batches = len(real) // self._batch_size
        for i in range(n_batches):
            batch = real[order[i * self._batch_size : (i + 1) * self._batch_size]]
            totals += self._teach_critic(batch)
            self._n_critic_steps += 1
            if self._n_critic_steps % CRITIC_STEPS == 0:
                self._teach_generator(len(batch))
        loss, distance = (totals / n_batches).tolist()
        return loss, distance

    def _teach_critic(self, real: Tensor) -> Tensor:
        with torch.no_grad():
            made = self._generator(self._noise(len(real)).to(self._device))
        distance = self._critic(real).mean() - self._critic(made).mean()
        loss = PENALTY * self._penalty(real, made) - distance
        self._step(loss, 1)
        return torch.stack((loss, distance)).detach()

    def _penalty(self, real: Tensor, made: Tensor) -> Tensor:
        share = torch.rand(len(real), *[1] * (real.ndim - 1)).to(self._device)
        between = (share * real + (1 - share) * made).requires_grad_(True)
        (slope,) = torch.autograd.grad(self._critic(between).sum(), between, create_graph=True)
        norm: Tensor = slope.flatten(1).pow(2).sum(dim=1).add(1e-12).sqrt()
        return (norm - 1).pow(2).mean()

    def _teach_generator(self, n: int) -> None:
        self._step(-self._critic(self._generator(self._noise(n).to(self._device))).mean(), 0)

    def _step(self, loss: Tensor, which: int) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizers[which].step()
