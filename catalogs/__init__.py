"""Embeddings to answers: catalogues of embeddings, their indexes, and the searches over them."""
