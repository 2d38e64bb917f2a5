"""What a corpus shall be: sizes and their distributions, presets with their sources, one frozen recipe."""
