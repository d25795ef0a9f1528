"""Collections of vector databases that hold a space's rows of one width, each row under its row id of the lake."""
