"""Data, priors and fitted methods for Headwater, which reads them: nothing here is code.

`data/` holds the sets with their manifest, notices and licences, `priors/` and `fitted/` one folder with a
card for each.
"""
