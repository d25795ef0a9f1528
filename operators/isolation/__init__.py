"""Crash-contained decoding: what parses bytes in C runs in a child process, and what it does to it costs one asset.

What no such parser reads is decoded without a child: `here` says what that is, why it is safe and how it is bounded.

The child is our own because pools such as pebble or loky hand back one result a call: a three-hour video would be
held whole. Here segments stream with back-pressure, references of documents are opened by the parent on request,
and nothing that the child sends is ever unpickled: a decoder that was taken over holds no key of its parent's.
`sandbox` says what it can still reach.
"""
