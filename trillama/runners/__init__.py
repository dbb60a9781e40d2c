"""The parts of one runner: a loaded model with the thread that drives it and the answers it gives.

``answers`` is the hot path, ``roster`` the answers of one runner, ``machine`` what lives on its
engine thread, ``runner`` its life, ``embedder`` its vectors, ``admission`` who may wait, ``pace``
when to come back, ``spec`` the nouns, ``vocabularies`` what needs no runner at all. The floors
above take them from ``runner_pool``.
"""
