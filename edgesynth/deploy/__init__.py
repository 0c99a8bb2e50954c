"""From a network to files a device runs."""
