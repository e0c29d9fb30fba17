"""Wu et al.: purification from random noise."""
