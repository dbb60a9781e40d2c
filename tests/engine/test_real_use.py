"""Reading what llama.cpp has allocated from its log."""

from __future__ import annotations

from trillama.base.memory import Taken
from trillama.engine.real_use import MIB, taken


def test_buffers_are_summed_by_where_they_lie() -> None:
    """The host's, also those that GPUs can see; and all others."""
    lines = [
        "load_tensors: offloaded 33/33 layers to GPU",
        "load_tensors:   CPU_Mapped model buffer size =   281.81 MiB",
        "load_tensors:        CUDA0 model buffer size =  4403.49 MiB..........",
        "llama_kv_cache:      CUDA0 KV buffer size =   512.00 MiB",
        "llama_memory_recurrent:        CPU RS buffer size =     1.50 MiB",
        "sched_reserve:      CUDA0 compute buffer size =   258.50 MiB",
        "sched_reserve:  CUDA_Host compute buffer size =    16.01 MiB",
        "llama_context:  CUDA_Host  output buffer size =     0.49 MiB",
        "llama_kv_cache: size =  512.00 MiB (4096 cells, 32 layers), K (f16):  256.00 MiB",
        "something else: buffer size = unknown",
    ]
    expected = Taken(
        host=int((281.81 + 1.5 + 16.01 + 0.49) * MIB), gpu=int((4403.49 + 512 + 258.5) * MIB)
    )
    found = taken(lines)
    assert abs(found.host - expected.host) <= 2
    assert abs(found.gpu - expected.gpu) <= 2


def test_a_silent_library_tells_nothing() -> None:
    """Zero, which nobody takes for a figure."""
    assert taken([]) == Taken()
