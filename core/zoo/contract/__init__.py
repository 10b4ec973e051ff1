"""What a plugin's author writes against: specs, hooks, options, and the base classes of components."""
