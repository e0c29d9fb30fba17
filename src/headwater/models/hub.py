"""Uploading priors to the Hugging Face hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from headwater.errors import UserError
from headwater.models.prior import Prior


def push(prior: Prior, repo_id: str, private: bool, dtype: torch.dtype | None) -> str:
    """What `Prior.push_to_hub` does."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = huggingface_hub.HfApi()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "prior"
        prior.save_pretrained(folder, dtype)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message="Upload a Headwater prior"
            )
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise UserError(f"the hub refused {repo_id!r} ({reason}): check the name and log in") from None
    return str(done.commit_url)
