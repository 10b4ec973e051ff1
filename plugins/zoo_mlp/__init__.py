"""The multilayer perceptron of Lightning's "Train a model (basic)"."""
