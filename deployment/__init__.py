"""How the service is deployed on many machines, and the same topology on this one, without containers."""
