"""The model: the masked autoencoder, its treatment of pixels and its pooling."""
