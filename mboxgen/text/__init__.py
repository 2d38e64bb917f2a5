"""Text and people at memory speed: pools of words and lines, and what is cut out of them."""
