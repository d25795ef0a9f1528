"""Crash-contained decoding: decoders run in a child process, and what they do to it costs one asset.

The child is our own because pools such as pebble or loky hand back one result a call: a three-hour video would be
held whole. Here segments stream with back-pressure, references of documents are opened by the parent on request,
and nothing that the child sends is ever unpickled: a decoder that was taken over holds no key of its parent's.
`sandbox` says what it can still reach.
"""
