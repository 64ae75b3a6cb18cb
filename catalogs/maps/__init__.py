"""Maps: embeddings projected to two dimensions (PCA, t-SNE, UMAP), stored beside the catalogue."""
