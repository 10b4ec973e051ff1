"""The optimizer step: what a training repeats, batch after batch."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from zoo.processes import Sum

Losses = dict[str, Tensor]

MAPPED_BYTES = 2**25 - 2**16  # nearly 32 MiB: glibc learns nothing from larger blocks


class Step:
    """Adds up the gradients of batches, and lets Adam step on them.

    Adam's own function is called on the optimizer's settings and state. `optimizer.step()` calls
    it too, after it has looked up again what never changes: a tenth of a small model's time.

    Args:
        losses: Images `(N, C, H, W)`, float in [0, 1], to losses by name; `loss` is minimised.
        optimizer: One group of weights.
        batches: How many make a step, over all processes; each counts for that much less.
        gradient_clip: Largest norm of the gradient.
        together: Adds up gradients over the processes of a training.
        scaler: Scales the losses of 16-bit floats.

    Attributes:
        compile_seconds: How long it took to compile; 0 until it was.
    """

    def __init__(
        self,
        losses: Callable[[Tensor], Losses],
        optimizer: torch.optim.Adam,
        *,
        batches: int = 1,
        gradient_clip: float | None = None,
        together: Sum | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.losses = losses
        self.optimizer = optimizer
        self.batches = batches
        self.gradient_clip = gradient_clip
        self.together = together
        self.scaler = scaler
        (self.group,) = optimizer.param_groups
        self.weights: list[Tensor] = [weight for weight in self.group["params"] if weight.requires_grad]
        self.state: tuple[list[Tensor], ...] = ()  # of Adam: means, squares, and numbers of steps
        self.taken = 0  # how many steps
        if optimizer.state:  # the training goes on
            self._take_state()
        self.compile_seconds = 0.0

    def __call__(self, images: Tensor, *, update: bool) -> Losses:
        """Add the gradients of a batch, step on them if it is to `update` the weights, and return its losses."""
        losses = self._add_gradients(images)
        if update:
            self._prepare_gradients()
            self._step()
            self._drop_gradients()
        return losses

    def _add_gradients(self, images: Tensor) -> Losses:
        losses = self.losses(images)
        loss = losses["loss"] / self.batches if self.batches > 1 else losses["loss"]
        loss = self.scaler.scale(loss) if self.scaler else loss
        loss.backward()  # type: ignore[no-untyped-call]
        return {name: value.detach() for name, value in losses.items()}

    def _prepare_gradients(self) -> None:
        for weight in self.weights:
            if weight.grad is None:  # it took no part in the losses
                weight.grad = torch.zeros_like(weight)
        if self.together:
            for weight, gradient in zip(self.weights, self.together(self._gradients()), strict=True):
                weight.grad = gradient
        if self.scaler and self.gradient_clip:
            self.scaler.unscale_(self.optimizer)
        if self.gradient_clip:
            nn.utils.clip_grad_norm_(self.weights, self.gradient_clip)

    def _step(self) -> None:
        if self.scaler:  # it leaves a step out whose gradients have overflown
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif not self.state:  # a new optimizer gets it with its first step
            self.optimizer.step()
            self._take_state()
        else:
            self.taken += 1
            means, squares, counts = self.state
            beta1, beta2 = self.group["betas"]
            with torch.no_grad():
                adam(
                    self.weights, self._gradients(), means, squares, [], counts, fused=True, amsgrad=False,
                    beta1=beta1, beta2=beta2, lr=self.group["lr"], eps=self.group["eps"], weight_decay=0,
                    maximize=False,
                )  # fmt: skip

    def _take_state(self) -> None:
        states = [self.optimizer.state[weight] for weight in self.weights]
        for weight, state in zip(self.weights, states, strict=True):
            for name in ("exp_avg", "exp_avg_sq"):  # Adam takes it that they lie in memory as their weight does
                state[name] = torch.empty_like(weight).copy_(state[name])
        self.state = tuple([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        self.taken = int(states[0]["step"])

    def _drop_gradients(self) -> None:
        for weight in self.weights:
            weight.grad = None

    def _gradients(self) -> list[Tensor]:
        return [weight.grad for weight in self.weights if weight.grad is not None]


class CompiledStep(Step):
    """A step of which torch.compile makes one graph: losses, gradients, clipping and Adam.

    Batches of another size than `batch_size` are stepped on as by `Step`, and so is the first one. On
    CUDA what was compiled is captured as a CUDA graph.

    Args:
        losses: As `Step`.
        optimizer: As `Step`.
        batch_size: Of all batches but an epoch's last.
        gradient_clip: As `Step`.
    """

    def __init__(
        self,
        losses: Callable[[Tensor], Losses],
        optimizer: torch.optim.Adam,
        batch_size: int,
        *,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__(losses, optimizer, gradient_clip=gradient_clip)
        self.batch_size = batch_size
        self._rates = torch.zeros(3, device=self.weights[0].device)
        self._compiled: Callable[[Tensor, Tensor], Losses] | None = None

    def __call__(self, images: Tensor, *, update: bool) -> Losses:
        if not self.state or len(images) != self.batch_size:
            return super().__call__(images, update=update)
        self._rates.copy_(torch.tensor(self._next_rates()))
        self.taken += 1
        losses = self._compiled(images, self._rates) if self._compiled else self._compile(images)
        # A CUDA graph's next step would write over them.
        return {name: value.clone() for name, value in losses.items()} if images.is_cuda else losses

    def _compile(self, images: Tensor) -> Losses:
        """Step on a batch, and keep what it was compiled to."""
        started = time.perf_counter()
        try:
            # One graph for this model alone, which does not change: nothing need be looked at before each step.
            options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
            if images.is_cuda:  # all its kernels are launched at once, on tensors that stay where they are
                options["triton.cudagraphs"] = True
                for tensor in (self._rates, *self.weights, *itertools.chain(*self.state)):
                    torch._dynamo.mark_static_address(tensor)
            self._compiled = torch.compile(  # type: ignore[call-overload]
                self._on_batch, fullgraph=True, dynamic=False, isolate_recompiles=True, options=options
            )
            with torch._dynamo.config.patch(trace_autograd_ops=True):
                losses = self._compiled(images, self._rates)
        except torch._dynamo.exc.Unsupported:  # a component's own code makes no graph: several are made, without it
            self._compiled = torch.compile(self._on_batch, dynamic=False)
            losses = self._compiled(images, self._rates)
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

    def _on_batch(self, images: Tensor, rates: Tensor) -> Losses:
        losses = self._add_gradients(images)
        self._prepare_gradients()
        with torch.no_grad():
            self._adam(*rates.unbind())
        self._drop_gradients()
        return losses

    def _adam(self, share: Tensor, rate: Tensor, epsilon: Tensor) -> None:
        _, beta2 = self.group["betas"]
        for weight, gradient, mean, square, count in zip(self.weights, self._gradients(), *self.state, strict=True):
            count.add_(1)
            mean.add_(share * (gradient - mean))
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            weight.sub_(rate * mean / (square.sqrt() + epsilon))


def keep_freed_memory() -> None:
    """Have glibc keep what a step frees for the next one, up to 64 MiB of it, and no block above 32 MiB.

    It gives free memory back to the system beyond twice the largest block that it has mapped and freed so
    far, and a step would be given its own anew, page by page. So one of these sizes is mapped and freed.
    """
    torch.empty(MAPPED_BYTES, dtype=torch.uint8, device="cpu")  # of which no page is touched
