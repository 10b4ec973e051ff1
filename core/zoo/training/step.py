"""The optimizer step: what a training repeats, batch after batch."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from zoo.contract.parts import Batch
from zoo.model.autoencoder import ADVERSARIAL, Autoencoder, Losses
from zoo.training.processes import Sum

MAPPED_BYTES = 2**25 - 2**16  # nearly 32 MiB: glibc learns nothing from larger blocks


class Step:
    """Adds up the gradients of batches, and lets the optimizer step on them.

    Adam's own function is called on the optimizer's settings and state. `optimizer.step()` calls
    it too, after it has looked up again what never changes: a tenth of a small model's time.

    Args:
        autoencoder: What is trained.
        optimizer: One group of weights.
        losses: A batch to losses by name, of which `loss` is minimised: the autoencoder's own method
            by default, or what it was compiled to.
        batches: Number of batches of a step, over all processes; each counts for that much less.
        gradient_clip: Largest norm of the gradient.
        together: Adds up gradients, and the objective's tallies, over the processes of a training.
        scaler: Scales the losses of 16-bit floats.

    Attributes:
        compile_seconds: How long it took to compile; 0 until it was.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        optimizer: torch.optim.Optimizer,
        losses: Callable[[Batch], Losses] | None = None,
        *,
        batches: int = 1,
        gradient_clip: float | None = None,
        together: Sum | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.autoencoder = autoencoder
        self.losses = losses or autoencoder.losses
        self.optimizer = optimizer
        self.batches = batches
        self.gradient_clip = gradient_clip
        self.together = together
        self.scaler = scaler
        (self.group,) = optimizer.param_groups
        self.weights: list[Tensor] = [weight for weight in self.group["params"] if weight.requires_grad]
        self.players = [self.weights]
        self.tallies = autoencoder.tallies
        self.state: tuple[list[Tensor], ...] = ()  # Adam's means, squares, and numbers of steps
        self.taken = 0  # number of steps
        if optimizer.state:  # the training is resumed
            self._take_state()
        self.compile_seconds = 0.0

    def __call__(self, batch: Batch, *, update: bool) -> Losses:
        """Add the gradients of a batch, step on them if it is to `update` the weights, and return its losses."""
        losses = self._add_gradients(batch)
        if update:
            self._prepare_gradients()
            stepped = self._step()
            self._drop_gradients()
            if self.autoencoder.updates_state:
                self._update_state(stepped)
        return losses

    def _add_gradients(self, batch: Batch) -> Losses:
        losses = self.losses(batch)
        self._scaled(losses["loss"]).backward()  # type: ignore[no-untyped-call]
        return {name: value.detach() for name, value in losses.items()}

    def _scaled(self, loss: Tensor) -> Tensor:
        """Return a batch's loss as it counts for the step."""
        loss = loss / self.batches if self.batches > 1 else loss
        return self.scaler.scale(loss) if self.scaler else loss

    def _prepare_gradients(self) -> None:
        weights = [weight for player in self.players for weight in player]
        for weight in weights:
            if weight.grad is None:  # it took no part in the losses
                weight.grad = torch.zeros_like(weight)
        if self.together:
            sums = self.together([*_gradients(weights), *self.tallies])
            for weight, gradient in zip(weights, sums, strict=False):
                weight.grad = gradient
            for tally, total in zip(self.tallies, sums[len(weights) :], strict=True):
                tally.copy_(total)
        if self.gradient_clip:
            self._clip_gradients(self.gradient_clip)

    def _clip_gradients(self, norm: float) -> None:
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.weights, norm)

    def _step(self) -> bool:
        """Let the optimizer step, and say whether it did: 16-bit gradients that have overflown are left out."""
        if self.scaler:
            return self._scaled_step(self.scaler)
        if not isinstance(self.optimizer, torch.optim.Adam):
            self.optimizer.step()
        elif not self.state:  # a new optimizer gets it with its first step
            self.optimizer.step()
            self._take_state()
        else:
            self.taken += 1
            means, squares, counts = self.state
            beta1, beta2 = self.group["betas"]
            with torch.no_grad():
                adam(
                    self.weights, _gradients(self.weights), means, squares, [], counts, fused=True, amsgrad=False,
                    beta1=beta1, beta2=beta2, lr=self.group["lr"], eps=self.group["eps"],
                    weight_decay=self.group["weight_decay"],
                    decoupled_weight_decay=self.group["decoupled_weight_decay"], maximize=False,
                )  # fmt: skip
        return True

    def _scaled_step(self, scaler: torch.amp.GradScaler) -> bool:
        scale = scaler.get_scale()
        scaler.step(self.optimizer)
        scaler.update()
        return scaler.get_scale() >= scale

    def _update_state(self, stepped: bool) -> None:
        """Let the objective update its state, unless the step was left out: its tallies are dropped then."""
        if stepped:
            self.autoencoder.after_step()
        else:
            self.autoencoder.clear_tallies()

    def _take_state(self) -> None:
        if not isinstance(self.optimizer, torch.optim.Adam):
            return
        states = [self.optimizer.state[weight] for weight in self.weights]
        for weight, state in zip(self.weights, states, strict=True):
            for name in ("exp_avg", "exp_avg_sq"):  # Adam's kernel reads them in the order of their weight's memory
                state[name] = torch.empty_like(weight).copy_(state[name])
        self.state = tuple([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        self.taken = int(states[0]["step"])

    def _drop_gradients(self) -> None:
        for player in self.players:
            for weight in player:
                weight.grad = None


class AdversarialStep(Step):
    """A step of two players: the autoencoder, and its adversaries with an optimizer of their own.

    Each player's gradients are taken of its own loss with respect to its own weights, so that neither
    trains the other. Both losses belong to the weights from before the step.

    Args:
        autoencoder: As `Step`.
        optimizer: As `Step`; the autoencoder's own weights.
        adversary_optimizer: A group of weights for each adversary.
        losses: A batch to the losses of the autoencoder and of the adversaries.
        batches: As `Step`.
        gradient_clip: As `Step`, for each player.
        together: As `Step`.
        scaler: As `Step`.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        optimizer: torch.optim.Optimizer,
        adversary_optimizer: torch.optim.Optimizer,
        losses: Callable[[Batch], tuple[Losses, Losses]] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(autoencoder, optimizer, **settings)
        self.adversary_optimizer = adversary_optimizer
        self.adversary_weights = [w for group in adversary_optimizer.param_groups for w in group["params"]]
        self.players = [self.weights, self.adversary_weights]
        self.losses_of_both = losses or autoencoder.losses_of_both

    def _add_gradients(self, batch: Batch) -> Losses:
        losses, adversary_losses = self.losses_of_both(batch)
        minimised = losses["loss"] + losses[ADVERSARIAL] if ADVERSARIAL in losses else losses["loss"]
        _add_gradients_of(self._scaled(minimised), self.weights)
        _add_gradients_of(self._scaled(adversary_losses["loss"]), self.adversary_weights)
        named = {name: value for name, value in adversary_losses.items() if name != "loss"}
        return {name: value.detach() for name, value in (losses | named).items()}

    def _clip_gradients(self, norm: float) -> None:
        super()._clip_gradients(norm)
        if self.scaler:
            self.scaler.unscale_(self.adversary_optimizer)
        nn.utils.clip_grad_norm_(self.adversary_weights, norm)

    def _step(self) -> bool:
        if not self.scaler:
            self.adversary_optimizer.step()
        return super()._step()

    def _scaled_step(self, scaler: torch.amp.GradScaler) -> bool:
        scaler.step(self.adversary_optimizer)
        return super()._scaled_step(scaler)


class CompiledStep(Step):
    """A step of which torch.compile makes one graph: losses, gradients, clipping and Adam.

    Batches of another size than `batch_size` are stepped on as by `Step`, and so is the first one. On
    CUDA what was compiled is captured as a CUDA graph.

    Args:
        autoencoder: As `Step`.
        optimizer: As `Step`; Adam without weight decay.
        batch_size: Of all batches but an epoch's last.
        gradient_clip: As `Step`.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        optimizer: torch.optim.Adam,
        batch_size: int,
        *,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__(autoencoder, optimizer, gradient_clip=gradient_clip)
        self.batch_size = batch_size
        self._rates = torch.zeros(3, device=self.weights[0].device)
        self._compiled: Callable[[Tensor, Tensor | None, Tensor, Tensor], Losses] | None = None

    def __call__(self, batch: Batch, *, update: bool) -> Losses:
        if not self.state or len(batch.images) != self.batch_size:
            return super().__call__(batch, update=update)
        self._rates.copy_(torch.tensor(self._next_rates()))
        self.taken += 1
        given = (batch.images, batch.labels, batch.progress, self._rates)
        losses = self._compiled(*given) if self._compiled else self._compile(*given)
        if self.autoencoder.updates_state:
            self._update_state(stepped=True)
        # A CUDA graph's next step would write over them.
        return {name: value.clone() for name, value in losses.items()} if batch.images.is_cuda else losses

    def _compile(self, images: Tensor, labels: Tensor | None, progress: Tensor, rates: Tensor) -> Losses:
        """Step on a batch, and keep what it was compiled to."""
        started = time.perf_counter()
        try:
            # One graph for this model alone, which does not change: nothing need be looked at before each step.
            options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
            if images.is_cuda:  # all its kernels are launched at once, on tensors that stay where they are
                options["triton.cudagraphs"] = True
                for tensor in (rates, progress, *self.tallies, *self.weights, *itertools.chain(*self.state)):
                    torch._dynamo.mark_static_address(tensor)
            self._compiled = torch.compile(  # type: ignore[call-overload]
                self._on_batch, fullgraph=True, dynamic=False, isolate_recompiles=True, options=options
            )
            with torch._dynamo.config.patch(trace_autograd_ops=True):
                losses = self._compiled(images, labels, progress, rates)
        except torch._dynamo.exc.Unsupported:  # a component's own code makes no graph: several are made, without it
            self._compiled = torch.compile(self._on_batch, dynamic=False)
            losses = self._compiled(images, labels, progress, rates)
        self.compile_seconds = time.perf_counter() - started
        return losses

    def _next_rates(self) -> tuple[float, float, float]:
        """Return what changes from step to step, and would be compiled in if it were not given to the graph.

        Adam's corrections of its means and squares are in the learning rate and in epsilon: the graph
        divides once for each weight.
        """
        beta1, beta2 = self.group["betas"]
        step = self.taken + 1
        correction = math.sqrt(1 - beta2**step)
        return 1 - beta1, self.group["lr"] / (1 - beta1**step) * correction, self.group["eps"] * correction

    def _on_batch(self, images: Tensor, labels: Tensor | None, progress: Tensor, rates: Tensor) -> Losses:
        losses = self._add_gradients(Batch(images, labels, progress))
        self._prepare_gradients()
        with torch.no_grad():
            self._adam(*rates.unbind())
        self._drop_gradients()
        return losses

    def _adam(self, share: Tensor, rate: Tensor, epsilon: Tensor) -> None:
        _, beta2 = self.group["betas"]
        for weight, gradient, mean, square, count in zip(
            self.weights, _gradients(self.weights), *self.state, strict=True
        ):
            count.add_(1)
            mean.add_(share * (gradient - mean))
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            weight.sub_(rate * mean / (square.sqrt() + epsilon))


def _gradients(weights: Sequence[Tensor]) -> list[Tensor]:
    return [weight.grad for weight in weights if weight.grad is not None]


def _add_gradients_of(loss: Tensor, weights: Sequence[Tensor]) -> None:
    """Add the gradients of a loss with respect to these weights alone.

    They are laid out in memory as their weights are: Adam's kernel on CPUs does not look.
    """
    if not loss.requires_grad:  # an adversary that has not begun
        return
    gradients = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    for weight, gradient in zip(weights, gradients, strict=True):
        if gradient is None:
            continue
        laid = gradient if gradient.stride() == weight.stride() else torch.empty_like(weight).copy_(gradient)
        weight.grad = laid if weight.grad is None else weight.grad + laid


def keep_freed_memory() -> None:
    """Have glibc keep what a step frees for the next one, up to 64 MiB of it, and no block above 32 MiB.

    It gives free memory back to the system beyond twice the largest block that it has mapped and freed so
    far, and a step would be given its own anew, page by page. So one of these sizes is mapped and freed.
    """
    torch.empty(MAPPED_BYTES, dtype=torch.uint8, device="cpu")  # of which no page is touched
