"""A command line before Hydra runs it: composed, checked, every mistake told in one answer."""
