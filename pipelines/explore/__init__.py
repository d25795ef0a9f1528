"""What a person needs to look at a lake: the assets behind hits, pictures of them, queries of uploaded files."""
