"""Trains `tiny` on the CPU against the clock, so that every run ends annealed.

Run as `python -m training.train --tokenizer TOK --out DIR --deadline ISO-TIME [--resume]`. Writes
DIR/last.pt every few minutes and DIR/final.pt at the deadline. May be stopped and continued with
SIGSTOP/SIGCONT at any moment.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from training.batches import IGNORE, SHORT, Batch, batches
from training.model import Config, Tiny

N_TOKENS = 4096
MUON_RATE, ADAM_RATE = 0.02, 3e-3
WARMUP, DECAY_FROM = 60, 0.3  # steps; share of the run
SAVE_EVERY, LOG_EVERY = 240.0, 20  # seconds; steps


def orthogonal(g: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrices of a stack (n, rows, cols), by Newton-Schulz steps."""
    a, b, c = 3.4445, -4.7750, 2.0315  # coefficients of Keller Jordan's Muon
    x = g.bfloat16()
    if tall := x.shape[-2] > x.shape[-1]:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        xx = x @ x.mT
        x = a * x + (b * xx + c * xx @ xx) @ x
    return (x.mT if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, then orthogonalisation of every update; for the matrices of the blocks."""

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.01
    ) -> None:
        groups: dict[torch.Size, list[Tensor]] = {}
        for p in params:
            groups.setdefault(p.shape, []).append(p)
        super().__init__(
            [{"params": ps} for ps in groups.values()],
            {"lr": lr, "momentum": momentum, "decay": decay},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        for group in self.param_groups:
            updates = []
            for p in group["params"]:
                state = self.state[p]
                buffer = state.setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                updates.append(p.grad.lerp(buffer, group["momentum"]))
            for p, update in zip(group["params"], orthogonal(torch.stack(updates)), strict=True):
                p.mul_(1 - group["lr"] * group["decay"])
                p.add_(update, alpha=-group["lr"] * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


def optimizers(model: Tiny) -> list[torch.optim.Optimizer]:
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if not any(p is m for m in matrices)]
    return [
        Muon(matrices, MUON_RATE),
        torch.optim.AdamW(rest, ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def mask_of(docs: Tensor) -> Tensor:
    """Additive mask (rows, 1, width, width): causal, inside one document."""
    width = docs.shape[1]
    seen = (docs[:, :, None] == docs[:, None, :]) & torch.ones(
        width, width, dtype=torch.bool
    ).tril()
    return torch.zeros(seen.shape, dtype=torch.bfloat16).masked_fill(~seen, float("-inf"))[:, None]


def loss_of(model: Tiny, tokens: Tensor, mask: Tensor, where: Tensor, targets: Tensor) -> Tensor:
    states = model.hidden(tokens, mask).flatten(0, 1)[where]
    return F.cross_entropy(model.logits(states).float(), targets, ignore_index=IGNORE)


def learned(batch: Batch) -> tuple[Tensor, Tensor]:
    """Flat positions and targets that carry loss, padded to one size: compiled once."""
    targets = torch.from_numpy(batch.targets).flatten()
    where = (targets != IGNORE).nonzero()[:, 0]
    size = targets.numel() // 2
    where = where[torch.randperm(len(where))[:size]]
    padding = torch.zeros(size - len(where), dtype=torch.long)
    return (torch.cat((where, padding)), torch.cat((targets[where], padding.fill_(IGNORE))))


def rate(step: int, progress: float) -> float:
    """Factor on the learning rates: short warm-up, plateau, linear decay to zero."""
    return min(1.0, (step + 1) / WARMUP) * min(1.0, max(0.0, 1 - progress) / (1 - DECAY_FROM))


class Clock:
    """Progress of the run in [0, 1]: the share of the time to the deadline that has passed."""

    def __init__(self, deadline: float, done: float) -> None:
        self.start, self.deadline, self.done = time.time(), deadline, done

    def progress(self) -> float:
        share = (time.time() - self.start) / max(1.0, self.deadline - self.start)
        return min(1.0, self.done + (1 - self.done) * share)


def save(path: Path, model: Tiny, opts: list[torch.optim.Optimizer], **state: Any) -> None:
    data = {
        "model": model.state_dict(),
        "config": asdict(model.config),
        "opts": [o.state_dict() for o in opts],
    }
    partial = path.with_suffix(".part")
    torch.save(data | state, partial)
    partial.replace(path)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    model = Tiny(Config(n_vocab=tokenizer.get_vocab_size()))
    opts, step, done = optimizers(model), 0, 0.0
    if args.resume:
        data = torch.load(args.out / "last.pt")
        model.load_state_dict(data["model"])
        for opt, state in zip(opts, data["opts"], strict=True):
            opt.load_state_dict(state)
        step, done = data["step"], args.progress if args.progress is not None else data["progress"]
    print(f"{sum(p.numel() for p in model.parameters())} parameters, from step {step}", flush=True)
    clock = Clock(datetime.fromisoformat(args.deadline).timestamp(), done)
    step = loop(model, opts, batches(tokenizer, args.seed + step, N_TOKENS), clock, step, args.out)
    save(args.out / "final.pt", model, opts, step=step, progress=1.0)


def loop(
    model: Tiny,
    opts: list[torch.optim.Optimizer],
    source: Iterable[Batch],
    clock: Clock,
    step: int,
    out: Path,
) -> int:
    """Train until the clock has run out; returns the number of steps done in all."""
    bases = [[group["lr"] for group in opt.param_groups] for opt in optimizers(model)]
    compiled = torch.compile(loss_of, dynamic=False)
    saved = logged = time.time()
    busy, losses = time.process_time(), list[float]()
    for batch in source:
        progress = clock.progress()
        if progress >= 1:
            break
        with torch.autocast("cpu", torch.bfloat16):
            # Long rows are rare: compiling their shape would cost more than it saves.
            forward = compiled if batch.tokens.shape[1] == SHORT else loss_of
            loss = forward(
                model,
                torch.from_numpy(batch.tokens),
                mask_of(torch.from_numpy(batch.docs)),
                *learned(batch),
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt, base in zip(opts, bases, strict=True):
            for group, lr in zip(opt.param_groups, base, strict=True):
                group["lr"] = lr * rate(step, progress)
            opt.step()
            opt.zero_grad(set_to_none=True)
        step += 1
        losses.append(loss.item())
        if step % LOG_EVERY == 0:
            speed = LOG_EVERY * N_TOKENS / (time.time() - logged)
            logged = time.time()
            cpu = (time.process_time() - busy) / LOG_EVERY
            busy = time.process_time()
            print(
                f"step {step} progress {progress:.3f} loss {sum(losses) / len(losses):.4f} "
                f"tok/s {speed:.0f} cpu s/step {cpu:.2f}",
                flush=True,
            )
            losses.clear()
        if time.time() - saved > SAVE_EVERY:
            saved = time.time()
            save(out / "last.pt", model, opts, step=step, progress=progress)
    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--deadline", required=True, help="ISO time with zone at which the run ends, fully annealed"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument(
        "--progress", type=float, help="with --resume: where on the schedule to start again"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    train(args)


if __name__ == "__main__":
    main()
