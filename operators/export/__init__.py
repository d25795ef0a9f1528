"""What goes out of a lake: rows as files, and what a target holds of them."""
