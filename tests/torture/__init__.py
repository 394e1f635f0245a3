"""Long trials, by hand: runs that are killed, trackers that fail, inputs that are wrong."""
