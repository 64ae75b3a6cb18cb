"""Survey-like scenes with strong lenses in them: GalSim galaxies and stars, lenstronomy lenses, UNIONS pixels.

``scene.simulate_tile(name, seed, Settings(...))`` renders one tile in memory; ``write.write_tile`` makes files of it.
"""
