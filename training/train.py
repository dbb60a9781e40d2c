"""Trains `tiny` against the clock, so that every run ends annealed.

Run as `python -m training.train --tokenizer TOK --out DIR --deadline ISO-TIME [--resume]`. Writes
DIR/last.pt every few minutes and DIR/final.pt at the deadline. May be stopped and continued with
SIGSTOP/SIGCONT at any moment. Two CPU cores take 4,096 tokens a step (the default); a GPU is
fed with `--device cuda --batch-tokens 16384 --workers 2`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from training.batches import IGNORE, SHORT, Batch, batches
from training.export import read_back
from training.model import Config, Tiny

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
        torch.optim.AdamW(
            rest, ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=rest[0].is_cuda
        ),
    ]


def mask_of(docs: Tensor, kind: torch.dtype) -> Tensor:
    """Additive mask (rows, 1, width, width): causal, inside one document."""
    width = docs.shape[1]
    earlier = torch.ones(width, width, dtype=torch.bool, device=docs.device).tril()
    seen = (docs[:, :, None] == docs[:, None, :]) & earlier
    free = torch.zeros(seen.shape, dtype=kind, device=docs.device)
    return free.masked_fill(~seen, float("-inf"))[:, None]


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


class Trainer:
    """Network, optimizers and the step count; writes itself to a folder and reads itself back."""

    def __init__(self, n_vocab: int, out: Path, device: str, kind: torch.dtype) -> None:
        self.device, self.kind = device, kind
        self.model = Tiny(Config(n_vocab=n_vocab)).to(device)
        self.opts = optimizers(self.model)
        self.bases = [[group["lr"] for group in opt.param_groups] for opt in self.opts]
        self.forward = torch.compile(loss_of, dynamic=False)
        self.out, self.step_number = out, 0

    def save(self, name: str, progress: float) -> None:
        data = {
            "model": self.model.state_dict(),
            "config": asdict(self.model.config),
            "opts": [opt.state_dict() for opt in self.opts],
            "step": self.step_number,
            "progress": progress,
        }
        partial = self.out / "writing.part"
        torch.save(data, partial)
        partial.replace(self.out / name)

    def load(self, name: str) -> float:
        """Continue from a checkpoint; returns its progress."""
        data = torch.load(self.out / name, map_location=self.device)
        self.model.load_state_dict(data["model"])
        for opt, state in zip(self.opts, data["opts"], strict=True):
            opt.load_state_dict(state)
        self.step_number = data["step"]
        return float(data["progress"])

    def step(self, batch: Batch, progress: float) -> Tensor:
        """One optimizer step; returns the loss, which a GPU may still be computing."""
        # Long rows are rare: compiling their shape would cost more than it saves.
        forward = self.forward if batch.tokens.shape[1] == SHORT else loss_of
        tokens = torch.from_numpy(batch.tokens).to(self.device)
        mask = mask_of(torch.from_numpy(batch.docs).to(self.device), self.kind)
        where, targets = (found.to(self.device) for found in learned(batch))
        half = self.kind is torch.bfloat16
        with torch.autocast(self.device, torch.bfloat16, enabled=half):
            loss = forward(self.model, tokens, mask, where, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        factor = rate(self.step_number, progress)
        for opt, base in zip(self.opts, self.bases, strict=True):
            for group, lr in zip(opt.param_groups, base, strict=True):
                group["lr"] = lr * factor
            opt.step()
            opt.zero_grad(set_to_none=True)
        self.step_number += 1
        return loss.detach()


class Log:
    """Prints the mean loss and the speed of every LOG_EVERY steps."""

    def __init__(self, batch_tokens: int) -> None:
        self.batch_tokens = batch_tokens
        self.losses: list[Tensor] = []
        self.since, self.busy = time.time(), time.process_time()

    def add(self, step: int, progress: float, loss: Tensor) -> None:
        self.losses.append(loss)
        if step % LOG_EVERY:
            return
        mean = torch.stack(self.losses).mean().item()
        speed = len(self.losses) * self.batch_tokens / (time.time() - self.since)
        cpu = (time.process_time() - self.busy) / len(self.losses)
        line = f"step {step} progress {progress:.3f} loss {mean:.4f} tok/s {speed:.0f}"
        print(f"{line} cpu s/step {cpu:.2f}", flush=True)
        self.losses.clear()
        self.since, self.busy = time.time(), time.process_time()


def produce(queue: multiprocessing.Queue[Batch], path: str, seed: int, n_tokens: int) -> None:
    """Body of a worker: batches without end."""
    for batch in batches(Tokenizer.from_file(path), seed, n_tokens):
        queue.put(batch)


def produced(path: str, seed: int, n_tokens: int, workers: int) -> Iterator[Batch]:
    """Batches without end, made in this process or by workers that end with it."""
    if not workers:
        yield from batches(Tokenizer.from_file(path), seed, n_tokens)
        return
    context = multiprocessing.get_context("spawn")
    queue = context.Queue(4 * workers)
    for number in range(workers):
        target = (queue, path, seed + 1_000_003 * number, n_tokens)
        context.Process(target=produce, args=target, daemon=True).start()
    while True:
        yield queue.get()


def run(trainer: Trainer, source: Iterable[Batch], clock: Clock, log: Log) -> None:
    """Train until the clock has run out (then `final.pt`) or SIGTERM comes (then `last.pt`)."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    saved = time.time()
    for batch in source:
        progress = clock.progress()
        if progress >= 1:
            break
        log.add(trainer.step_number + 1, progress, trainer.step(batch, progress))
        if stopped or time.time() - saved > SAVE_EVERY:
            saved = time.time()
            trainer.save("last.pt", progress)
        if stopped:
            return
    trainer.save("final.pt", 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--deadline", required=True, help="ISO time with zone: the end of the run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--from-gguf", type=Path, help="begin with the weights of this file")
    parser.add_argument("--progress", type=float, help="begin here on the schedule, 0 to 1")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--float32", action="store_true", help="for a CPU without bf16 products")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="of one step")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    kind = torch.float32 if args.float32 else torch.bfloat16
    trainer = Trainer(tokenizer.get_vocab_size(), args.out, args.device, kind)
    done = trainer.load("last.pt") if args.resume else 0.0
    if args.from_gguf:
        trainer.model.load_state_dict(read_back(args.from_gguf))
    clock = Clock(datetime.fromisoformat(args.deadline).timestamp(), args.progress or done)
    parameters = sum(p.numel() for p in trainer.model.parameters())
    print(f"{parameters} parameters, from step {trainer.step_number}", flush=True)
    # A new seed after each resumption: the stream must not show the same samples again.
    seed = args.seed + trainer.step_number
    source = produced(str(args.tokenizer), seed, args.batch_tokens, args.workers)
    run(trainer, source, clock, Log(args.batch_tokens))


if __name__ == "__main__":
    main()
