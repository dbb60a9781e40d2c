"""Cut llama.cpp's CUDA backend down to what Llama models of the tables need.

Most of its compile time goes into kernels for block types, head sizes and operations that the
models of `shapes.py` do not have. Both servers use the same library, so nothing is compared
unfairly; a kernel that was left out ends the process when it is called (`build.stub_missing`).
Not for a build that is to run other models.
"""

from __future__ import annotations

import re
from pathlib import Path

BLOCKS = {"Q4_K", "Q6_K", "Q8_0"}
HEADS = {"64", "128"}
#: Query heads for each head of the cache: 4 in Llama 3, 2 in `tiny`; odd cases fall back to 1.
QUERY_GROUPS = ("ncols2_4", "ncols2_2", "ncols2_1")
#: Whole files; not fwht.cu, which every product of matrices asks whether it applies.
_UNUSED = """
    col2im-1d conv-transpose-1d conv2d conv2d-dw conv2d-transpose conv3d count-equal
    cross-entropy-loss diag dsv4-hc fattn-tile gated_delta_net gla im2col lightning-indexer
    opt-step-adamw opt-step-sgd out-prod pad_reflect_1d pool2d roll snake solve_tri ssm-conv
    ssm-scan tri tsembd upscale wkv
"""


def prune(source: Path) -> None:
    """Remove files and template instances from a tree of llama.cpp, for good."""
    cuda = source / "ggml" / "src" / "ggml-cuda"
    for name in _UNUSED.split():
        (cuda / f"{name}.cu").unlink(missing_ok=True)
    for file in (cuda / "template-instances").glob("*.cu"):
        text = kept_instances(file.stem, file.read_text())
        if text:
            file.write_text(text)
        else:
            file.unlink()
    vectors = cuda / "mmvq.cu"
    vectors.write_text(keep_block_types(vectors.read_text()))


def kept_instances(name: str, text: str) -> str:
    """What stays of a file of template instances; "" if nothing does."""
    if name.startswith("mmq-instance-"):
        return text if name.removeprefix("mmq-instance-").upper() in BLOCKS else ""
    if name.startswith("mmf-instance-"):  # few rows of F16
        return text
    if name.startswith("fattn-mma") and name.endswith(QUERY_GROUPS):
        return _keep(text, r"DECL_FATTN_MMA_F16_CASE\((\d+), (\d+), .*\n")
    if name.startswith("fattn-vec"):
        return _keep(text, r"DECL_FATTN_VEC_CASE\( *(\d+)(), .*\n")
    return ""


def _keep(text: str, declaration: str) -> str:
    """Drop declarations of other head sizes, and of values as wide as no key."""

    def kept(found: re.Match[str]) -> str:
        return found[0] if found[1] in HEADS and found[2] in ("", found[1]) else ""

    text = re.sub(declaration, kept, text)
    return text if "DECL_" in text else ""


def keep_block_types(text: str) -> str:
    """The vector kernels' switch without the block types nobody uses."""
    case = r"        case GGML_TYPE_(\w+):\n            mul_mat_vec_q_switch_ncols_dst<.*?break;\n"
    return re.sub(case, lambda m: m[0] if m[1] in BLOCKS else "", text, flags=re.DOTALL)
