"""Tile classifiers from slide diagnoses alone."""
