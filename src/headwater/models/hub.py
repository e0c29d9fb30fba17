"""The Hugging Face hub: repositories that hold what `save_pretrained` writes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from headwater.errors import UserError
from headwater.models.pretrained import Pretrained

FILES = ("*.json", "*.safetensors", "README.md")


def download(name: str, revision: str | None) -> Path:
    """A snapshot of a hub repository: its JSON, safetensors and card; pickles where it has no safetensors."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    at = f" at revision {revision!r}" if revision else ""
    try:
        place = Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
        if not any(place.rglob("*.safetensors")):
            snapshot_download(name, revision=revision, allow_patterns=[*FILES, "*.bin"])
        return place
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"cannot get {name!r}{at} from the hub ({_reason(error)}): check the name and the connection, or "
            "give a folder or the name of something that ships"
        ) from None


def push(trained: Pretrained, repo_id: str, private: bool, dtype: torch.dtype | None) -> str:
    """What `Pretrained.push_to_hub` does."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = huggingface_hub.HfApi()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / trained.kind
        trained.save_pretrained(folder, dtype)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            said = f"Upload a Headwater {trained.kind}"
            done = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=said)
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise UserError(
                f"the hub refused {repo_id!r} ({_reason(error)}): check the name and log in"
            ) from None
    return str(done.commit_url)


def _reason(error: Exception) -> str:
    said = str(error).strip()
    return said.splitlines()[0][:200] if said else type(error).__name__
