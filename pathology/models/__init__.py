"""Networks for tiles: encoders, heads, and weights that travel with their card."""
