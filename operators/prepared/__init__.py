"""Prepared media: what decoding an asset gave, kept so that the next model reads it instead of the original."""
