"""The best logits of each row, ranked in the graph of a decode.

Of 128,256 logits a row some 40 count. The processor needs 4 ms to find them in 64 rows that it has
never seen; a GPU that just computed them needs a tenth of that. llama.cpp lets a sampler add to the
graph; its own top-k takes a kernel for each row. Here a sampler for a sequence that nobody uses
adds one ranking of all rows: (k logits, largest first, then their k ids). All else stays as it is,
whole rows are handed out as ever.

The ranking narrows a row down: cut into blocks, only those k whose maxima are largest can hold one
of the k largest logits; and again, until what is left is short enough to be sorted at once, which
GPUs do in one kernel for all rows up to ``_SORTED`` columns. Equal logits come in any order.

Python is called back once for each graph that is built, and not at all while the same sequences
generate. A sampler for every sequence could spare the copies of whole rows, which take 0.2 ms, but
each would call back and may have to wait for the interpreter.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

from .base import RANKS, Ranked
from .library import lib

_SORTED, _SORTABLE = 1024, 2048
"""Columns that a GPU sorts in one kernel, and that it may be asked to sort."""
_MAX, _DESCENDING = 0, 1
"""GGML_OP_POOL_MAX and GGML_SORT_ORDER_DESC of ggml.h."""

_F32 = 0
"""GGML_TYPE_F32 of ggml.h."""
_GPUS = (1, 2)
"""GGML_BACKEND_DEVICE_TYPE_GPU and _IGPU of ggml-backend.h."""
_PROBE_BYTES = 1 << 20
"""For the structures of a graph of some 30 nodes and its table of 2,048."""
_P, _I64 = ctypes.c_void_p, ctypes.c_int64


class _Tensor(ctypes.Structure):
    """The front of struct ggml_tensor of ggml.h, as far as it is read here."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", _P),
        ("ne", _I64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", _P * 10),
        ("view_src", _P),
    )


class _InitParams(ctypes.Structure):
    """struct ggml_init_params of ggml.h."""

    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", _P), ("no_alloc", ctypes.c_bool))


def _function(name: str, *arguments: Any, result: Any = _P) -> Any:
    function = lib._lib[f"ggml_{name}"]
    function.restype, function.argtypes = result, arguments
    return function


_pool = _function("pool_1d", _P, _P, *[ctypes.c_int] * 4)
_argsort = _function("argsort", _P, _P, ctypes.c_int)
_rows = _function("get_rows", _P, _P, _P)
_view_2d = _function("view_2d", _P, _P, _I64, _I64, ctypes.c_size_t, ctypes.c_size_t)
_reshape_1d = _function("reshape_1d", _P, _P, _I64)
_reshape_2d = _function("reshape_2d", _P, _P, _I64, _I64)
_reshape_3d = _function("reshape_3d", _P, _P, _I64, _I64, _I64)
_cont = _function("cont", _P, _P)
_arange = _function("arange", _P, *[ctypes.c_float] * 3)
_concat = _function("concat", _P, _P, _P, ctypes.c_int)
_set_output = _function("set_output", _P, result=None)
_expand = _function("build_forward_expand", _P, _P, result=None)
_new_2d = _function("new_tensor_2d", _P, ctypes.c_int, _I64, _I64)
_new_graph = _function("new_graph", _P)
_node = _function("graph_node", _P, ctypes.c_int)
_node_count = _function("graph_n_nodes", _P, result=ctypes.c_int)
_init = _function("init", _InitParams)
_free = _function("free", _P, result=None)
_get = _function("backend_tensor_get", _P, _P, ctypes.c_size_t, ctypes.c_size_t, result=None)
_device_of = _function("backend_buft_get_device", _P)
_device_kind = _function("backend_dev_type", _P, result=ctypes.c_int)
_supports = _function("backend_dev_supports_op", _P, _P, result=ctypes.c_bool)


class Narrowing(NamedTuple):
    """One step of it: columns before, and into blocks of how many they are cut."""

    columns: int
    block: int


def narrowings(n_vocab: int) -> list[Narrowing] | None:
    """The steps that lead from a row to what is sorted; None where a row cannot be cut evenly."""
    steps: list[Narrowing] = []
    columns, k = n_vocab, RANKS
    while columns > _SORTED:
        fitting = [
            block
            for block in (1 << bits for bits in range(1, 12))
            if columns % block == 0 and k < columns // block <= _SORTABLE and block * k < columns
        ]
        if not fitting:
            return steps if columns <= _SORTABLE else None
        block = next((b for b in fitting if columns // b <= _SORTED), fitting[-1])
        steps.append(Narrowing(columns, block))
        columns = block * k
    return steps


def open_ranks(
    context: int, unused: int, n_vocab: int, *, anywhere: bool = False
) -> GraphRanks | None:
    """A ranking where a GPU computes the rows and knows the operations; else None.

    Args:
        context: pointer to it; nothing was decoded in it yet.
        unused: a sequence that no batch will ever name.
        n_vocab: columns of a row.
        anywhere: the CPU's will do.
    """
    if n_vocab < RANKS or narrowings(n_vocab) is None:
        return None
    ranks = GraphRanks(context, unused, n_vocab, anywhere=anywhere)
    if ranks.able:
        return ranks
    lib.llama_set_sampler(context, unused, None)
    ranks.close()
    return None


class GraphRanks:
    """The ranking of one context's rows.

    Attributes:
        able: whether the device can do it, and the library lets it.
    """

    def __init__(self, context: int, unused: int, n_vocab: int, *, anywhere: bool) -> None:
        """See ``open_ranks``, which also says when to call it."""
        self.able = False
        self._n_vocab, self._anywhere = n_vocab, anywhere
        self._ranking: tuple[int, int] | None = None  # tensor, and how many rows it ranks
        self._interface: Any = lib.llama_sampler_i(
            backend_init=lib.llama_sampler_i_backend_init(self._begin),
            backend_apply=lib.llama_sampler_i_backend_apply(self._apply),
        )
        chain: int = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        self._chain: int | None = chain
        sampler = lib.llama_sampler_init(ctypes.byref(self._interface), None)
        lib.llama_sampler_chain_add(chain, sampler)
        taken = bool(lib.llama_set_sampler(context, unused, chain))  # asks what the device can
        self.able = self.able and taken

    def read(self, rows: int) -> Ranked | None:
        """The ranking of the last decode's rows, which the device must have finished; None where
        they were not computed together, in the last execution of the graph."""
        if self._ranking is None or self._ranking[1] != rows:
            return None
        found = np.empty((rows, 2 * RANKS), np.float32)
        _get(self._ranking[0], found.ctypes.data, 0, found.nbytes)
        return Ranked(found[:, :RANKS], found[:, RANKS:].astype(np.int64))

    def close(self) -> None:
        """Free what is attached; the context must be gone by then, or have let go of it."""
        chain, self._chain = self._chain, None
        if chain:
            lib.llama_sampler_free(chain)
        self._interface = None  # it knows this object in turn

    # -- called back; nothing may be raised into C ----------------------------------------------

    def _begin(self, _sampler: Any, buffers: int, _most: int) -> bool:
        device = _device_of(buffers)
        on_gpu = bool(device) and _device_kind(device) in _GPUS
        self.able = _supported(device, self._n_vocab) if on_gpu else self._anywhere
        return self.able

    def _apply(self, _sampler: Any, context: int, graph: int, data: Any) -> None:
        """Rank all rows of the graph, of which the library shows the first."""
        self._ranking = None  # in case the rest fails
        outcome = data.contents
        row = _Tensor.from_address(outcome.logits)
        whole = row.view_src or outcome.logits  # it also counts the nodes of a row by itself
        shape = _Tensor.from_address(whole).ne
        best = _rank(context, whole, int(shape[0]), int(shape[1]))
        _set_output(best)
        _expand(graph, best)
        self._ranking = best, int(shape[1]) - 1  # below them is one that keeps graphs alike
        outcome.logits = best


def _supported(device: int, n_vocab: int) -> bool:
    """Whether a device knows all operations of the ranking."""
    context = _init(_InitParams(_PROBE_BYTES, None, True))
    try:
        graph = _new_graph(context)
        _expand(graph, _rank(context, _new_2d(context, _F32, n_vocab, 2), n_vocab, 2))
        nodes = [_node(graph, at) for at in range(_node_count(graph))]
        return all(_supports(device, node) for node in nodes)
    finally:
        _free(context)


def _rank(context: int, logits: int, n_vocab: int, rows: int) -> int:
    """Add the ranking of all rows to a graph; its tensor, shape (2 * RANKS, rows) in ggml's order.

    Args:
        context: the ggml_context of the graph.
        logits: tensor, shape (n_vocab, rows).
    """
    values, columns, k = logits, n_vocab, RANKS
    ids: int | None = None
    for columns, block in narrowings(n_vocab) or ():
        width = columns // block
        best = _best(context, _pool(context, values, _MAX, block, block, 0), rows)
        values = _rows(context, _reshape_3d(context, values, block, width, rows), best)
        ids = _ids_at(context, ids, best, (block, width, rows))
        columns = block * k
        values = _reshape_2d(context, values, columns, rows)
    best = _best(context, values, rows)
    values = _rows(context, _reshape_3d(context, values, 1, columns, rows), best)
    ids = _ids_at(context, ids, best, (1, columns, rows))
    return int(_concat(context, _reshape_2d(context, values, k, rows), ids, 0))


def _best(context: int, values: int, rows: int) -> int:
    """Places of the largest of each row, shape (RANKS, rows)."""
    order = _argsort(context, values, _DESCENDING)
    stride = int(_Tensor.from_address(order).nb[1])
    return int(_view_2d(context, order, RANKS, rows, stride, 0))


def _ids_at(context: int, ids: int | None, best: int, shape: tuple[int, int, int]) -> int:
    """Token ids of the chosen blocks, shape (block * RANKS, rows), as floats, which are exact.

    Args:
        ids: those they are chosen from; None for all there are, the same in each row.
        shape: (block, blocks, rows).
    """
    block, width, rows = shape
    if ids is None:
        every = _reshape_2d(context, _arange(context, 0, block * width, 1), block, width)
        chosen = _rows(context, every, _reshape_1d(context, _cont(context, best), RANKS * rows))
    else:
        chosen = _rows(context, _reshape_3d(context, ids, block, width, rows), best)
    return int(_reshape_2d(context, chosen, block * RANKS, rows))
