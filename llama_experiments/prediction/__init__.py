"""Rows that nobody has labelled: read as a stream, put to a run's model, written as they come."""
