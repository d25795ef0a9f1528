"""Hostile and broken inputs through the isolated decoders: the job ends, and every input is accounted for."""
