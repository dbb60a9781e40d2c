"""llama.cpp's own sampler chains, for the options that the numpy samplers leave out.

Order and meaning are those of llama-server: logit bias, penalties, top-k, typical, top-p, min-p,
temperature, draw. A chain works on a candidate array of its own and never touches a context, so
chains of different jobs may run on different threads at once, the GIL released.
"""

from __future__ import annotations

import ctypes
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trillama.base.errors import EngineError
from trillama.base.options import Options

from . import guards
from .library import lib

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""llama_token_data of llama.h."""
_RANDOM_SEED = 0xFFFF_FFFF
"""LLAMA_DEFAULT_SEED: asks the library to choose."""
_COLDEST = 1e-6
"""Logits divided by less would overflow; the draw is the maximum long before."""
_NEGLIGIBLE = 1e-30
"""Relative probabilities below it reach 0 in float32, where the typical sampler takes log(0)."""


class LlamaChain:
    """A chain for one job; see ``base.Chain``."""

    def __init__(
        self, options: Options, history: npt.NDArray[np.int32], n_vocab: int, window: int
    ) -> None:
        """Build the chain and let it see the end of ``history`` (newest last).

        Args:
            history: int32 tokens, shape (n,); only the last ``repeat_last_n`` count.
            window: tokens the penalties look back at most, and for ``repeat_last_n`` -1.

        Raises:
            BadRequest: options that would poison the samplers.
            EngineError: llama.cpp refused to make one of them.
        """
        guards.check_options(options, n_vocab)
        self._n_vocab = n_vocab
        self._ids = np.arange(n_vocab, dtype=np.int32)
        self._candidates = np.zeros(n_vocab, _CANDIDATE)
        self._data: Any = self._candidates.ctypes.data_as(ctypes.POINTER(lib.llama_token_data))
        self._array: Any = lib.llama_token_data_array(self._data, n_vocab, -1, False)
        last = window if options.repeat_last_n < 0 else min(options.repeat_last_n, window)
        self._chain = _new_chain(_samplers(options, n_vocab, last))
        if options.penalised:
            for token in history[max(0, len(history) - last) :].tolist():
                lib.llama_sampler_accept(self._chain, token)

    def pick(self, row: npt.NDArray[np.float32]) -> int:
        """Choose a token from one row of logits, shape (n_vocab,), and remember it.

        Raises:
            EngineError: the chain is closed, or nothing can be drawn from the row.
        """
        if not self._chain:
            raise EngineError("the sampler chain is closed")
        guards.check_row(row, self._n_vocab)
        self._candidates["id"] = self._ids
        self._candidates["logit"] = row
        array = self._array
        # Samplers cut the array, reorder it and may even replace its memory.
        array.data, array.size, array.selected, array.sorted = self._data, self._n_vocab, -1, False
        lib.llama_sampler_apply(self._chain, ctypes.byref(array))
        if not 0 <= array.selected < array.size:
            raise EngineError("llama.cpp's samplers chose no token")
        token: int = array.data[array.selected].id
        lib.llama_sampler_accept(self._chain, token)
        return token

    def close(self) -> None:
        """Free the samplers; doing it twice is harmless."""
        chain, self._chain = self._chain, None
        if chain:
            lib.llama_sampler_free(chain)


def chain_seed(seed: int) -> int:
    """The 32-bit seed llama.cpp gets: fresh for a negative one, never the "random" mark."""
    value = secrets.randbits(32) if seed < 0 else seed & 0xFFFF_FFFF
    return value if value != _RANDOM_SEED else 0


def _new_chain(samplers: Iterator[int | None]) -> int | None:
    chain: int | None = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    if not chain:
        raise EngineError("llama.cpp could not make a sampler chain")
    for sampler in samplers:
        if not sampler:  # in a chain, NULL would be called
            lib.llama_sampler_free(chain)
            raise EngineError("llama.cpp could not make a sampler")
        lib.llama_sampler_chain_add(chain, sampler)
    return chain


def _samplers(options: Options, n_vocab: int, last: int) -> Iterator[int | None]:
    """The samplers in order; each belongs to the chain it is added to."""
    if options.logit_bias:
        pairs = [lib.llama_logit_bias(token, bias) for token, bias in options.logit_bias]
        biases = (lib.llama_logit_bias * len(pairs))(*pairs)
        yield lib.llama_sampler_init_logit_bias(n_vocab, len(pairs), biases)
    if options.penalised:
        yield lib.llama_sampler_init_penalties(
            n_vocab,
            last,
            options.repeat_penalty,
            options.frequency_penalty,
            options.presence_penalty,
        )
    if options.top_k > 0:
        yield lib.llama_sampler_init_top_k(options.top_k)
    if options.typical_p < 1:
        yield lib.llama_sampler_init_min_p(_NEGLIGIBLE, 1)
        yield lib.llama_sampler_init_typical(options.typical_p, 1)
    if options.top_p < 1:
        yield lib.llama_sampler_init_top_p(options.top_p, 1)
    if options.min_p > 0:
        yield lib.llama_sampler_init_min_p(options.min_p, 1)
    if options.temperature <= 0:
        yield lib.llama_sampler_init_greedy()
    else:
        yield lib.llama_sampler_init_temp(max(options.temperature, _COLDEST))
        yield lib.llama_sampler_init_dist(chain_seed(options.seed))
