"""Write a random-weight GGUF of any size, for questions where speed matters and sense does not.

    python -m bench.make_model --layers 16 --dim 1024 --ffn 2816 --vocab 32000 --out m.gguf

The architecture is llama with an untied output. Weights are seeded and scaled so that activations
keep their size through any depth. They are made and quantised in slabs of rows, so memory stays
flat however large the model. Generation never ends by itself: see `SUPPRESSION`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import click
import gguf
import numpy as np
import numpy.typing as npt
from gguf.constants import GGMLQuantizationType as GGMLType
from gguf.constants import LlamaFileType

from bench.copying import FREQ_BASE, Circuit, copying_weights
from bench.vocabulary import CHAT_TEMPLATE, SPECIALS, Vocabulary, build_vocabulary

Matrix = npt.NDArray[np.float32]

FILE_TYPES = {
    "F32": LlamaFileType.ALL_F32,
    "F16": LlamaFileType.MOSTLY_F16,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
    "Q4_0": LlamaFileType.MOSTLY_Q4_0,
}
#: Elements made at a time: 64 MiB of float32 before quantisation.
SLAB = 1 << 24
#: Standard deviation of the logits of ordinary words.
LOGIT_STD = 3.0
#: Channel 0 of the residual stream is 1 in every embedding and no layer writes to it, so after the
#: last norm it is a positive constant. Output rows of every token that is not a word hold minus
#: this there: end-of-generation, control and lone-byte tokens get a logit about 30 below zero.
SUPPRESSION = 40.0


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a llama model; `head_dim` is `dim // heads`."""

    layers: int
    dim: int
    ffn: int
    heads: int
    kv_heads: int
    vocab: int
    ctx: int

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.heads % self.kv_heads:
            raise ValueError("dim must be a multiple of heads, and heads of kv-heads")
        if self.dim % 32 or self.ffn % 32:
            raise ValueError("dim and ffn must be multiples of 32, the quantisation block")

    @property
    def kv_dim(self) -> int:
        return self.dim // self.heads * self.kv_heads


@dataclass(frozen=True)
class TensorPlan:
    """One matrix to be drawn: normal values of standard deviation `std`, then the bias channel."""

    name: str
    rows: int
    cols: int
    std: float
    channel: str = "none"  # what happens to channel 0: none, embed, silent or output


def plan_tensors(shape: ModelShape) -> list[TensorPlan]:
    """Every matrix of the model, in file order; norms are written apart."""
    unit, residual = 1 / sqrt(shape.dim), 1 / sqrt(2 * shape.layers)
    plans = [TensorPlan("token_embd", shape.vocab, shape.dim, 1.0, "embed")]
    for i in range(shape.layers):
        rows = {"attn_q": shape.dim, "attn_k": shape.kv_dim, "attn_v": shape.kv_dim}
        rows |= {"ffn_gate": shape.ffn, "ffn_up": shape.ffn}
        plans += [TensorPlan(f"blk.{i}.{name}", n, shape.dim, unit) for name, n in rows.items()]
        for name, cols in (("attn_output", shape.dim), ("ffn_down", shape.ffn)):
            std = residual / sqrt(cols)
            plans.append(TensorPlan(f"blk.{i}.{name}", shape.dim, cols, std, "silent"))
    plans.append(TensorPlan("output", shape.vocab, shape.dim, LOGIT_STD * unit, "output"))
    return plans


def norm_names(shape: ModelShape) -> list[str]:
    per_layer = [f"blk.{i}.{n}" for i in range(shape.layers) for n in ("attn_norm", "ffn_norm")]
    return [*per_layer, "output_norm"]


def count_parameters(shape: ModelShape) -> int:
    return sum(p.rows * p.cols for p in plan_tensors(shape)) + len(norm_names(shape)) * shape.dim


def draw_slabs(
    plan: TensorPlan, rng: np.random.Generator, vocab: Vocabulary, circuit: Circuit | None = None
) -> Iterator[Matrix]:
    """The matrix of `plan` from top to bottom, (n, cols) float32 at a time."""
    made = circuit and copying_weights(plan.name, (plan.rows, plan.cols), circuit)
    if made is not None:
        if plan.channel == "output":
            _set_channel(made, 0, plan.channel, vocab)
        yield made
        return
    step = max(1, SLAB // plan.cols)
    for start in range(0, plan.rows, step):
        n = min(step, plan.rows - start)
        slab = rng.standard_normal((n, plan.cols), dtype=np.float32)
        slab *= np.float32(plan.std)
        _set_channel(slab, start, plan.channel, vocab)
        yield slab


def _set_channel(slab: Matrix, start: int, channel: str, vocab: Vocabulary) -> None:
    """Apply the treatment of channel 0 to rows `start ...` of a matrix, in place."""
    if channel == "embed":
        slab[:, 0] = 1
    elif channel == "silent" and start == 0:
        slab[0] = 0
    elif channel == "output":
        ids = np.arange(start, start + len(slab))
        is_word = (ids >= vocab.first_word) & (ids < vocab.first_special)
        slab[:, 0] = np.where(is_word, 0, -SUPPRESSION)


def write_metadata(
    writer: Any, shape: ModelShape, vocab: Vocabulary, file_type: LlamaFileType
) -> None:
    writer.add_name(f"random {count_parameters(shape) / 1e6:.0f}M")
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(shape.ctx)
    writer.add_embedding_length(shape.dim)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.dim // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocab.tokens)
    writer.add_token_merges(vocab.merges)
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_token_types([normal] * vocab.first_special + [control] * len(SPECIALS))
    writer.add_eos_token_id(vocab.eos_id)
    writer.add_pad_token_id(vocab.first_special)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def write_model(
    path: Path, shape: ModelShape, kind: str, seed: int, *, copies: bool = False
) -> None:
    """Write the model to `path`; `kind` is a key of FILE_TYPES. Raises ValueError: bad shape.

    With `copies` it repeats its prompt: see `bench.copying`.
    """
    vocab = build_vocabulary(shape.vocab)
    writer: Any = gguf.GGUFWriter(path, "llama")
    write_metadata(writer, shape, vocab, FILE_TYPES[kind])
    writer.add_rope_freq_base(FREQ_BASE if copies else 10000.0)
    plans, element = plan_tensors(shape), GGMLType[kind]
    f32 = np.dtype(np.float32)
    for plan in plans:
        size = (plan.rows, plan.cols)
        n_bytes = int(np.prod(gguf.quant_shape_to_byte_shape(size, element)))
        writer.add_tensor_info(f"{plan.name}.weight", size, f32, n_bytes, raw_dtype=element)
    for name in norm_names(shape):
        writer.add_tensor_info(f"{name}.weight", (shape.dim,), f32, shape.dim * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    circuit = Circuit(shape, seed) if copies else None
    _write_weights(writer, plans, vocab, (element, seed, circuit))
    for _ in norm_names(shape):
        writer.write_tensor_data(np.ones(shape.dim, np.float32))
    writer.close()


def _write_weights(
    writer: Any,
    plans: list[TensorPlan],
    vocab: Vocabulary,
    how: tuple[GGMLType, int, Circuit | None],
) -> None:
    """Stream the matrices past the writer, which would want each of them whole."""
    element, seed, circuit = how
    file = writer.fout[0]
    writer.write_padding(file, file.tell())
    for index, plan in enumerate(plans):
        rng = np.random.default_rng([seed, index])
        for slab in draw_slabs(plan, rng, vocab, circuit):
            gguf.quants.quantize(slab, element).tofile(file)
        writer.write_padding(file, file.tell())
        writer.tensors[0].pop(f"{plan.name}.weight")
    writer.state = gguf.gguf_writer.WriterState.WEIGHTS


@contextmanager
def given_or_made(model: Path | None, shape: ModelShape, kind: str) -> Iterator[Path]:
    """``model``, or one of a shape that is gone with the block."""
    with tempfile.TemporaryDirectory(prefix="trillama-bench-") as folder:
        path = model or Path(folder) / "made.gguf"
        if model is None:
            write_model(path, shape, kind, seed=0)
        yield path


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--layers", default=16, show_default=True)
@click.option("--dim", default=1024, show_default=True)
@click.option("--ffn", default=2816, show_default=True)
@click.option("--heads", default=16, show_default=True)
@click.option("--kv-heads", default=8, show_default=True)
@click.option("--vocab", default=32000, show_default=True)
@click.option("--ctx", default=32768, show_default=True, help="trained context to declare")
@click.option("--type", "kind", default="Q4_0", type=click.Choice(list(FILE_TYPES)))
@click.option("--seed", default=0, show_default=True)
@click.option("--copies", is_flag=True, help="it repeats its prompt: see bench.copying")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(kind: str, seed: int, out: Path, *, copies: bool, **sizes: int) -> None:
    shape = ModelShape(**sizes)
    write_model(out, shape, kind, seed, copies=copies)
    millions, mebibytes = count_parameters(shape) / 1e6, out.stat().st_size / 2**20
    print(f"{out}: {millions:.1f} M parameters, {mebibytes:.0f} MiB")


if __name__ == "__main__":
    main()
