"""Computational pathology from whole-slide images to the microscope."""

__version__ = "0.1.0"
