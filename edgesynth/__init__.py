"""edgesynth: learned generators of efficient networks for NVIDIA Jetson, with the device in the loop."""
