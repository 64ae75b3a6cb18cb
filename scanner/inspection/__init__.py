"""Inspection by a team: who grades what, blind to the score and to each other, and what the grades say together."""

TRUTHS = "lens", "dud"
"""What objects that test the inspectors are known to be."""
PARTS = "objects", "inspectors", "summary", "completeness"
"""Parts of a consensus, as they are listed."""
PRIOR = 2e-4
"""Share of lenses among the objects, before anybody has looked: that of Space Warps."""
