"""The network half of the library: models pulled from and pushed to registries.

    pull / push  >  transfers (one download a blob, shared)  >  download / upload  >  session
    session: one conversation with one registry: requests, redirects, tokens, limits
    network: the only way out; decides which addresses may be spoken to
    partial: a blob that is not whole yet: parts, their journal, the hash that follows them

What comes from a registry is not trusted: sizes and times are bounded, digests are checked, and no
address on a private network is spoken to that a user did not name.
"""
