"""Figures: colour composites, galleries of cutouts, maps and curves as PNG or PDF."""
