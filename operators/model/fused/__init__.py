"""One bidirectional transformer that reads text, pictures and sound as one interleaved sequence."""
