"""`embedlake explore`: a local page to look at a lake."""
