"""From a recipe to a candidate: what is read, made, fitted and checked for one version."""
