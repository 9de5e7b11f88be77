"""Inputs: laws of the latent, the manifold they are folded into, and their moments."""
