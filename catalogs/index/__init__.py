"""The index: shards of Annoy or Faiss trees and float16 vectors, what they cover, and their settings."""

ENGINES = ("annoy", "faiss")
"""The first is the default."""
