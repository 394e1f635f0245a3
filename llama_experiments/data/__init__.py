"""Rows: where they come from, what is checked, in which order and batches they are used."""
