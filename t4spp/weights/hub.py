"""Files of the model hub, by ``huggingface_hub`` and its own rules of offline work and tokens."""

from __future__ import annotations

import os
from pathlib import Path

from t4spp.manifest import HubSource, WeightsFile
from t4spp.weights.downloads import reason
from t4spp.weights.failures import SourceFailedError

OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Either of them set to 1, ON, YES or TRUE keeps t4spp from asking the hub."""
PROBE_SECONDS = 10.0
"""How long the hub may take to answer at all; the library would retry for half a minute."""


def is_offline() -> bool:
    """Whether the user forbids to ask the hub."""
    return any(
        os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in OFFLINE_VARIABLES
    )


def from_hub(source: HubSource, file: WeightsFile, staging: Path) -> Path:
    """A file of a repository: out of the hub's own cache, or downloaded below ``staging``.

    Downloads resume and show their progress, as the library does it.

    Raises:
        SourceFailedError: offline, not reachable, no such repository or file, or no permission.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # Broken connections come as the HTTP package's own errors. Which package that is changed; its
    # errors share a base with the library's.
    broken: type[Exception] = HfHubHTTPError.__bases__[0]
    path = source.paths.get(file.name, file.name)
    try:
        cached = try_to_load_from_cache(source.repo, path, revision=source.revision)
        if isinstance(cached, str):
            return Path(cached)
        if is_offline():
            raise SourceFailedError(
                f"{' or '.join(OFFLINE_VARIABLES)} is set, and the hub's cache does not hold {path}"
            )
        _probe(constants.ENDPOINT)
        return Path(
            hf_hub_download(source.repo, path, revision=source.revision, local_dir=staging / "hub")
        )
    except (HFValidationError, FileNotFoundError, ConnectionError, RuntimeError, broken) as error:
        # FileNotFoundError is what the library makes of a repository or a line that is not there,
        # RuntimeError what its transfer of large files raises.
        raise SourceFailedError(_one_line(error)) from error


def _probe(endpoint: str) -> None:
    import requests

    try:
        requests.head(endpoint, timeout=PROBE_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        raise SourceFailedError(f"{endpoint} cannot be reached: {reason(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
