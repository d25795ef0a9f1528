"""The demo: a real S3 server on loopback, a small committed corpus, and a tour of the lake made from it."""
