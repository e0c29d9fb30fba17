"""Defences at test time, and the attacks that they are measured with."""
