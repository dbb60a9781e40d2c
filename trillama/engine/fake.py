"""A backend without a model: scripted answers over a faithful KV cache, for tests.

Fulfils the whole contract of ``engine/base.py``: positions must continue, a full pool says
NO_ROOM and changes nothing, what would abort the process in llama.cpp raises EngineError. Logits
depend only on the cells a sequence sees, so wrong book-keeping shows as wrong text. Hooks block,
delay or fail loads and decodes; counters and the list of contexts are there for assertions.
The floors above never import this module; tests hand a ``FakeBackend`` in.

``fake_context`` decodes, ``fake_hooks`` is what tests do to it, ``fake_cells`` models the KV cache,
``fake_scripts`` says what a model answers, ``fake_vocab`` turns text into tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trillama.base.errors import EngineError, ModelLoadError, Unsupported

from .base import ContextParams, Device, LoadParams, MemoryKind, ModelFacts, ProgressHook
from .embedding import EmbeddingParams, Tokens
from .fake_chain import FakeChain
from .fake_context import FakeContext, FakeWeights
from .fake_embedding import FakeEmbeddings
from .fake_hooks import Counters, Failure, Hooks
from .fake_scripts import Script, babble, babble_for, count, echo_canary, fixed, replies
from .fake_vocab import FakeVocabulary
from .layout import Surroundings, settle

__all__ = [
    "Counters",
    "Failure",
    "FakeBackend",
    "FakeChain",
    "FakeContext",
    "FakeModel",
    "FakeVocabulary",
    "FakeWeights",
    "Hooks",
    "Script",
    "babble",
    "babble_for",
    "count",
    "echo_canary",
    "fixed",
    "open_fake_context",
    "replies",
]

MAX_SEQUENCES = 256


_SURROUNDINGS = Surroundings(
    memory=MemoryKind.ATTENTION, heads=2, cell_elements=64, on_cpu=False, free=1 << 30
)


class FakeModel:
    """Weights in name only; fulfils :class:`trillama.engine.base.Model`."""

    def __init__(self, weights: FakeWeights, hooks: Hooks, *, vocab_only: bool = False) -> None:
        self.weights = weights
        self.vocab_only = vocab_only
        self.hooks = hooks
        self.contexts: list[FakeContext] = []
        self.embeddings: list[FakeEmbeddings] = []
        self.closed = False
        self.adapters: list[str] = []
        self.vocabulary = FakeVocabulary(add_bos=weights.add_bos, fill=weights.fill)
        self.facts = ModelFacts(
            architecture="fake",
            description="fake scripted",
            train_context=weights.train_context,
            embedding_length=64,
            layers=2,
            size=weights.size,
            parameters=weights.size // 2,
            memory=weights.memory,
            chat_template=weights.chat_template,
            pooling=weights.pooling,
        )

    def open_context(self, params: ContextParams) -> FakeContext:
        """Allocate a context.

        Raises:
            ModelLoadError: no cells, or more sequences than llama.cpp allows.
        """
        if self.closed:
            raise EngineError("the model is closed")
        if self.vocab_only:
            raise ModelLoadError("only the vocabulary of this model is loaded")
        if self.hooks.on_open:
            self.hooks.on_open(params)
        if params.cells <= 0 or params.sequences > MAX_SEQUENCES:
            raise ModelLoadError(f"no room for {params.cells} cells, {params.sequences} sequences")
        params = settle(params, _SURROUNDINGS)
        context = FakeContext(self.weights, self.hooks, params, self.adapters)
        self.contexts.append(context)
        return context

    def open_embeddings(self, params: EmbeddingParams) -> FakeEmbeddings:
        """Allocate a context for embeddings.

        Raises:
            Unsupported: ``weights`` say that the model cannot embed.
        """
        if self.closed:
            raise EngineError("the model is closed")
        if self.weights.pooling is None:
            raise Unsupported("models of architecture fake cannot embed")
        if self.hooks.on_open_embeddings:
            self.hooks.on_open_embeddings(params)
        context = FakeEmbeddings(self.weights.pooling, params, self._embedding)
        self.embeddings.append(context)
        return context

    def load_adapter(self, path: str) -> None:
        """Note an adapter, which need not exist.

        Raises:
            EngineError: the model is closed.
        """
        if self.closed:
            raise EngineError("the model is closed")
        if path not in self.adapters:
            if self.hooks.on_adapter:
                self.hooks.on_adapter(path)
            self.adapters.append(path)

    def _embedding(self, inputs: Sequence[Tokens]) -> None:
        if self.hooks.on_embed:
            self.hooks.on_embed(inputs)

    def close(self) -> None:
        """Free the weights and the contexts still open; a second call does nothing."""
        for context in self.contexts:
            context.close()
        for embeddings in self.embeddings:
            embeddings.close()
        self.closed = True


class FakeBackend:
    """Loads any path; fulfils :class:`trillama.engine.base.Backend`.

    Args:
        script: what every model says that ``weights`` does not name.
        weights: models by path.
        hooks: what to do to them.

    Attributes:
        models: every model ever loaded, in order.
    """

    def __init__(
        self,
        script: Script = echo_canary,
        *,
        weights: Mapping[str, FakeWeights] | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self.hooks = hooks or Hooks()
        self.models: list[FakeModel] = []
        self._default = FakeWeights(script=script)
        self._weights = dict(weights or {})

    @property
    def open_models(self) -> int:
        """Models loaded and not closed."""
        return sum(not model.closed for model in self.models)

    @property
    def contexts(self) -> list[FakeContext]:
        """Every context ever opened, by model and then by time."""
        return [context for model in self.models for context in model.contexts]

    @property
    def open_contexts(self) -> int:
        """Contexts opened and not closed."""
        return sum(not context.closed for context in self.contexts)

    def load(
        self, path: str, params: LoadParams, progress: ProgressHook | None = None
    ) -> FakeModel:
        """Load ``path``, which need not exist.

        Raises:
            ModelLoadError: ``progress`` said no.
        """
        if self.hooks.on_load:
            self.hooks.on_load(path, params)
        for fraction in self.hooks.progress:
            if progress and not progress(fraction):
                raise ModelLoadError(f"loading {path} was cancelled at {fraction:.0%}")
        weights = self._weights.get(path, self._default)
        model = FakeModel(weights, self.hooks, vocab_only=params.vocab_only)
        self.models.append(model)
        return model

    def devices(self) -> list[Device]:
        """One CPU with 8 GiB, half of it free."""
        gib = 1 << 30
        return [Device(name="CPU", description="fake", kind="cpu", free=4 * gib, total=8 * gib)]

    def version(self) -> str:
        """Name of the fake."""
        return "fake 1"


def open_fake_context(
    script: Script = echo_canary,
    params: ContextParams | None = None,
    *,
    hooks: Hooks | None = None,
) -> FakeContext:
    """A context on a model of its own, of 1024 cells unless told, for tests of the step loop."""
    model = FakeBackend(script, hooks=hooks).load("fake", LoadParams())
    return model.open_context(params or ContextParams(cells=1024))
