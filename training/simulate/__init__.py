"""Simulation of survey-like scenes with strong lenses: galaxies and stars by GalSim, lenses by lenstronomy.

``scene.simulate_tile(name, seed, Settings(...))`` renders one tile in memory; ``write.write_tile`` writes its files.
"""
