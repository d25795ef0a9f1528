"""BERT's encoder, packed for its CPU: the trunk of the fused model, and most models of text."""
