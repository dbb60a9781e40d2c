"""The contract between trillama and whatever computes logits.

``Backend`` loads a ``Model``; a model opens ``Context`` objects. ``engine/llama.py`` is the real
one, ``engine/fake.py`` the scripted one; ``batching`` and ``runner_pool`` know only this file.

Threads: ``Backend.load`` and ``Model.open_context`` are long calls for a worker thread. Every
method of a Context belongs to ONE thread, its engine thread, except ``interrupt``. A Vocabulary may
be used from any number of threads at once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trillama.base.adapters import Adapters
from trillama.base.memory import NOTHING, Taken
from trillama.base.options import Options

from .batch import Batch as Batch
from .embedding import EmbeddingContext, EmbeddingParams, Pooling
from .rows import RANKS as RANKS
from .rows import Chain as Chain
from .rows import Ranked as Ranked

ProgressHook = Callable[[float], bool]
"""Called with the loaded fraction 0..1 from the loading thread; False cancels the load."""


Image = npt.NDArray[np.uint8]
"""What ``Context.save`` gives: only a context of the same model and kind can restore it."""


class DecodeStatus(enum.IntEnum):
    """Return codes of llama_decode and what they leave behind (llama.cpp include/llama.h)."""

    OK = 0
    NO_ROOM = 1
    """No cells for some part; the memory is as it was before the call."""
    INTERRUPTED = 2
    """Parts already computed stay; ask ``seq_pos_max``."""
    INVALID = -1
    """The batch breaks a rule; nothing was changed."""
    ALLOC_FAILED = -2
    COMPUTE_FAILED = -3


class MemoryKind(enum.StrEnum):
    """How a model remembers, asked of the library, never guessed from names."""

    ATTENTION = "attention"
    SLIDING = "sliding"
    RECURRENT = "recurrent"
    HYBRID = "hybrid"
    NONE = "none"

    @property
    def stateful(self) -> bool:
        """Whether a sequence has a state, which cannot be cut, only saved and restored."""
        return self in (MemoryKind.RECURRENT, MemoryKind.HYBRID)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What the library says of a loaded model.

    Attributes:
        train_context: positions the model was trained for.
        size: bytes of weights.
        parameters: number of weights.
        memory: kind of memory a context of it has.
        chat_template: the GGUF's default Jinja text, "" if it has none.
        pooling: how it embeds; None if it cannot. A model that does not say takes the last token's
            row, or the mean of all where it sees the whole text at once.
        causal: a token sees only those before it.
        rerank_template: text with ``{query}`` and ``{document}``, "" if it has none.
        scores_are_probabilities: what a RANK model gives needs no sigmoid.
        taken: memory for the weights.
    """

    architecture: str
    description: str
    train_context: int
    embedding_length: int
    layers: int
    size: int
    parameters: int
    memory: MemoryKind
    chat_template: str
    pooling: Pooling | None = None
    causal: bool = True
    rerank_template: str = ""
    scores_are_probabilities: bool = False
    taken: Taken = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadParams:
    """How to load weights. ``gpu_layers`` -1 means all; ``use_mmap`` None means the default.

    With ``vocab_only`` there are no weights and no contexts: facts and vocabulary alone.
    """

    gpu_layers: int = -1
    main_gpu: int | None = None
    use_mmap: bool | None = None
    use_mlock: bool = False
    check_tensors: bool = False
    vocab_only: bool = False


class Attention(enum.Enum):
    """What a row of a decode pays for, beside its share of the weights.

    TILED: flash attention in one pool: the cells it sees; from some number of rows on, tiles of
        rows pay for all cells in use together.
    POOLED: plain attention in one pool: all cells in use.
    SEPARATE: each sequence has cells of its own: those. A decode of unlike sequences becomes
        several executions of the graph.
    """

    TILED = "tiled"
    POOLED = "pooled"
    SEPARATE = "separate"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextParams:
    """How to open a context.

    Attributes:
        cells: KV cells wanted; the library may round up, ``Context.limits`` tells.
        streams: sequences to be given ``cells`` each where ``kv_memory`` allows it, in place of one
            pool of ``cells`` for all; 0 for the pool.
        kv_memory: bytes that streams may take; 0 for a share of what is free.
        sequences: sequence ids wanted, live and cached ones together (<= 256).
        batch: tokens of one decode call at most.
        micro_batch: tokens of one graph execution at most.
        outputs: rows of logits of one decode call at most.
        threads: CPU threads for the computation; 0 means one per physical core.
        cache_type_k, cache_type_v: element types of the KV cache ("f16", "q8_0", "q4_0", ...).
        flash_attention: None lets the library decide.
        unified: one pool of cells for all sequences.
    """

    cells: int
    streams: int = 0
    kv_memory: int = 0
    sequences: int = 64
    batch: int = 2048
    micro_batch: int = 512
    outputs: int = 64
    threads: int = 0
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    flash_attention: bool | None = None
    unified: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLimits:
    """What the context really has, read back from the library.

    Attributes:
        cells: all of them; ``sequence_cells`` is how many one sequence can have.
        sampling_threads: CPU threads that have nothing to do while rows are sampled.
        asynchronous: whether ``decode`` returns before its rows are computed.
        ranks: whether it ranks rows where they are computed.
        memory: how a sequence is remembered.
        taken: memory for all of it.
    """

    cells: int
    sequence_cells: int
    sequences: int
    batch: int
    micro_batch: int
    outputs: int
    can_shift: bool
    attention: Attention = Attention.TILED
    sampling_threads: int = 1
    asynchronous: bool = False
    ranks: bool = False
    memory: MemoryKind = MemoryKind.ATTENTION
    taken: Taken = NOTHING

    @property
    def separate(self) -> bool:
        """Whether each sequence has cells of its own."""
        return self.attention is Attention.SEPARATE


class Vocabulary(Protocol):
    """Text to tokens and back; thread-safe.

    Attributes:
        size: number of token ids.
        is_eog: bool, shape (size,); True for tokens that end a generation.
        pieces: bytes of every token as shown in an answer (control tokens are empty).
        controls: ids of the tokens that are not shown, by their text.
        fill: tokens that mark prefix, suffix and middle for filling in; None if there are none.
        bos, eos, sep: ids or -1.
        add_bos: whether ``tokenize(add_special=True)`` puts BOS in front.
        add_eos, add_sep: whether the model wants EOS behind a text, SEP between two.
    """

    size: int
    is_eog: npt.NDArray[np.bool_]
    pieces: list[bytes]
    controls: dict[str, int]
    fill: tuple[int, int, int] | None
    bos: int
    eos: int
    sep: int
    add_bos: bool
    add_eos: bool
    add_sep: bool

    def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> npt.NDArray[np.int32]:
        """Tokens of ``text``, int32, shape (n,). Needs a thread with a big stack."""
        ...

    def text_of(self, token: int) -> bytes:
        """Bytes of one token with control tokens spelled out; b"" for an id out of range."""
        ...


class Context(Protocol):
    """One llama.cpp context: a KV pool and the means to advance sequences in it."""

    limits: ContextLimits
    vocabulary: Vocabulary

    def new_batch(self) -> Batch:
        """A batch of ``limits.batch`` rows whose memory ``decode`` reads directly."""
        ...

    def decode(self, batch: Batch) -> DecodeStatus:
        """Compute all rows. May return before a GPU is done; ``logits`` waits.

        Raises:
            EngineError: the batch breaks an invariant that would abort the process.
        """
        ...

    def set_adapters(self, adapters: Adapters) -> None:
        """Compute with these LoRA adapters from the next decode on, and no others.

        Costs nothing where they are the ones in use; a change makes the library lay out its graph
        anew. Cells stay: whoever calls keeps apart what was computed with which.

        Raises:
            EngineError: one was never loaded.
        """
        ...

    def logits(self) -> npt.NDArray[np.float32]:
        """View of the last decode's rows, shape (outputs, n_vocab), in batch order.

        Valid until the next ``decode``; writable, for penalties in place.
        """
        ...

    def ranked(self) -> Ranked | None:
        """The ``RANKS`` best of each of the last decode's rows, in batch order.

        None where ``limits.ranks`` is not set, or where the rows were not computed together; the
        rows themselves are there in any case. Equal logits come in any order.
        """
        ...

    def seq_copy(self, source: int, target: int, start: int, end: int) -> None:
        """Make ``target`` share the cells of ``source`` at positions [start, end).

        Between separate cells all positions are copied, in place of what ``target`` held.
        """
        ...

    def seq_remove(self, sequence: int, start: int = 0, end: int = -1) -> bool:
        """Drop positions [start, end) (end -1: to the last); False if the memory cannot."""
        ...

    def seq_shift(self, sequence: int, start: int, end: int, delta: int) -> None:
        """Move positions [start, end) by ``delta``; only where ``limits.can_shift``."""
        ...

    def seq_pos_max(self, sequence: int) -> int:
        """Last position held, -1 when empty."""
        ...

    def save(self, sequence: int) -> Image:
        """An image of what a sequence needs to go on, uint8, shape (bytes,); empty if it fails.

        It can be cut where there are no windows: of cells outside them there is nothing in it.
        """
        ...

    def restore(self, sequence: int, image: Image) -> bool:
        """Give an empty sequence what was saved; False, and still empty, where there is no room."""
        ...

    def clear(self) -> None:
        """Forget every sequence."""
        ...

    def new_chain(self, options: Options, history: npt.NDArray[np.int32]) -> Chain:
        """A sampler chain for ``options`` that has seen ``history`` (newest last)."""
        ...

    def interrupt(self) -> None:
        """Make the running CPU decode return INTERRUPTED soon. Any thread; a no-op on GPUs."""
        ...

    def close(self) -> None:
        """Free the context. The model stays."""
        ...


class Model(Protocol):
    """Loaded weights; contexts are opened on it and must be closed before it."""

    facts: ModelFacts
    vocabulary: Vocabulary

    def open_context(self, params: ContextParams) -> Context:
        """Allocate a context.

        Raises:
            ModelLoadError: the library refused (memory, unsupported combination).
        """
        ...

    def open_embeddings(self, params: EmbeddingParams) -> EmbeddingContext:
        """Allocate a context for embeddings beside those that generate.

        Raises:
            Unsupported: the model cannot embed.
            ModelLoadError: the library refused.
        """
        ...

    def load_adapter(self, path: str) -> None:
        """Read a LoRA adapter that was checked against the weights; it stays as long as they do.

        A long call for a worker thread, also while contexts compute; a known path costs nothing.

        Raises:
            ModelLoadError: the file is missing, or belongs to other weights.
        """
        ...

    def close(self) -> None:
        """Free the weights; closes contexts still open first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device the library can compute on; memory in bytes."""

    name: str
    description: str
    kind: str
    free: int
    total: int


class Backend(Protocol):
    """A way to load models."""

    def load(self, path: str, params: LoadParams, progress: ProgressHook | None = None) -> Model:
        """Load weights from a GGUF file that was validated before.

        Raises:
            ModelLoadError: the file is missing, unsupported or too large.
        """
        ...

    def devices(self) -> list[Device]:
        """Devices in the library's order, CPU included."""
        ...

    def version(self) -> str:
        """Name and build of the library."""
        ...
