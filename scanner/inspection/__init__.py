"""Inspection by a team: who grades what, blind to the score and to each other, and what the grades say together."""
