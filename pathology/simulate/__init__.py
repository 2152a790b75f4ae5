"""Procedural H&E slides and microscope frames with known truth. Simulated, never real tissue."""
