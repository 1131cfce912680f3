"""Recurrent networks with sparse variational weights and gates."""
