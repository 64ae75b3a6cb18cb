"""Maps: embeddings projected to two dimensions (PCA, t-SNE, UMAP), stored beside the catalogue."""

METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
"""Methods by name, and as a figure's title has them."""
