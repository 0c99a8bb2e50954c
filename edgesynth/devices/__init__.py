"""Device profiles and the links that reach a device."""
