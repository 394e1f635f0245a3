"""Runs side by side: what differs in their configs, what came of them, and how sure one may be of it."""
