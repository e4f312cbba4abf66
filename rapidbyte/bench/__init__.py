"""Measuring: rapidbyte against the floor of two psql's, in one run, interleaved, every iteration verified."""
