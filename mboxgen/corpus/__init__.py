"""A whole corpus: recipe, sizes, plan, worker processes, manifest, verification."""
