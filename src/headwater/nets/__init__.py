"""Networks: plain `torch.nn.Module`s that know nothing of processes, plans or data."""
