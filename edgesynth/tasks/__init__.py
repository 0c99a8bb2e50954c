"""What a network is trained for: data, loss, metric, training."""
