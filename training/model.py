"""The network of `tiny`: a small Qwen3 decoder, as llama.cpp's `qwen3` graph computes it.

Owns the hyper-parameters and the forward pass for training. Called by train.py and export.py. It
never generates text: inference is llama.cpp's work, on the exported GGUF.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Config:
    """Shape of the network; every matrix row is a multiple of 32 so that Q8_0 fits."""

    n_vocab: int = 2560
    n_embd: int = 256
    n_layer: int = 6
    n_head: int = 4
    n_head_kv: int = 2
    head_dim: int = 64
    n_ff: int = 512
    n_ctx: int = 2048
    rope_base: float = 10000.0
    norm_eps: float = 1e-6


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


def rope_table(config: Config) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position, each (n_ctx, head_dim), NeoX order (two halves)."""
    exponents = torch.arange(0, config.head_dim, 2).float() / config.head_dim
    angles = torch.outer(torch.arange(config.n_ctx).float(), config.rope_base**-exponents)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.n_head * config.head_dim
        width_kv = config.n_head_kv * config.head_dim
        self.q = nn.Linear(config.n_embd, width, bias=False)
        self.k = nn.Linear(config.n_embd, width_kv, bias=False)
        self.v = nn.Linear(config.n_embd, width_kv, bias=False)
        self.out = nn.Linear(width, config.n_embd, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """`x` is (batch, time, n_embd); `mask` (batch, 1, time, time) or None for plain causal."""
        c, (b, t, _) = self.config, x.shape
        cos, sin = rope
        q = rotate(self.q_norm(self.q(x).view(b, t, c.n_head, -1)).transpose(1, 2), cos, sin)
        k = rotate(self.k_norm(self.k(x).view(b, t, c.n_head_kv, -1)).transpose(1, 2), cos, sin)
        v = self.v(x).view(b, t, c.n_head_kv, -1).transpose(1, 2)
        groups = c.n_head // c.n_head_kv
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.out(y.transpose(1, 2).reshape(b, t, -1))


class FeedForward(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gate = nn.Linear(config.n_embd, config.n_ff, bias=False)
        self.up = nn.Linear(config.n_embd, config.n_ff, bias=False)
        self.down = nn.Linear(config.n_ff, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attn_norm = RMSNorm(config.n_embd, config.norm_eps)
        self.attn = Attention(config)
        self.ffn_norm = RMSNorm(config.n_embd, config.norm_eps)
        self.ffn = FeedForward(config)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        x = x + self.attn(self.attn_norm(x), rope, mask)
        return x + self.ffn(self.ffn_norm(x))


class Tiny(nn.Module):
    """The whole decoder; the output matrix is the embedding matrix."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.n_vocab, config.n_embd)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.n_embd, config.norm_eps)
        cos, sin = rope_table(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(self._init)
        for block in self.blocks:
            nn.init.zeros_(block.attn.out.weight)
            nn.init.zeros_(block.ffn.down.weight)

    @staticmethod
    def _init(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def hidden(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normed last states (batch, time, n_embd) of `tokens` (batch, time)."""
        x = self.embed(tokens)
        t = tokens.shape[1]
        rope = (self.cos[:t].to(x.dtype), self.sin[:t].to(x.dtype))
        for block in self.blocks:
            x = block(x, rope, mask)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary (..., n_vocab) of states (..., n_embd)."""
        return F.linear(hidden, self.embed.weight)
