"""Models behind one contract: a card, a picklable spec on the driver, an engine on the actor."""
