"""Slides and predictions in a browser: Deep Zoom tiles, the overlay's table, the application."""
