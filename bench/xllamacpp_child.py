"""Runs xllamacpp's server until SIGTERM; started by bench/servers.py with xllamacpp's interpreter.

Arguments: MODEL PORT CONTEXT PARALLEL THREADS UNIFIED EMBEDDING
"""

from __future__ import annotations

import signal
import sys

import xllamacpp


def main() -> None:
    model, *sizes = sys.argv[1:]
    port, context, parallel, threads, unified, embedding = map(int, sizes)
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_ctx, params.n_parallel = context, parallel
    params.kv_unified = bool(unified)
    if embedding:
        params.embedding, params.n_batch, params.n_ubatch = True, 2048, 2048
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.ui, params.verbosity = False, 1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
