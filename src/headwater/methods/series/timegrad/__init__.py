"""The room of TimeGrad: start at method.py."""
