"""Decoders: an open file in, segments with model-ready parts out."""
