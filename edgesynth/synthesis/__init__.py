"""The generator-inquisitor pair, and the cycle that teaches it."""
