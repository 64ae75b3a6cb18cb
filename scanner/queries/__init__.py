"""Queries: from a position, object, file or table to embeddings, and from answers to galleries and reports."""
