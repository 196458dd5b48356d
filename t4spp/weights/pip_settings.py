"""The user's own package index, as pip is told of it: ``pip config``, files and environment."""

from __future__ import annotations

import ast
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from t4spp.weights.failures import SourceFailedError

logger = logging.getLogger(__name__)

PIPS_OWN_DEFAULT = "https://pypi.org/simple"
"""The index that pip asks where nothing else is said."""
SECTIONS = ("global", "install", "download", ":env:")
"""pip's sections that matter here; a later one overrides an earlier one."""


@dataclass(frozen=True, kw_only=True)
class PipSettings:
    """What pip would use to reach its index.

    Attributes:
        index_urls: simple indexes, the main one first; ``http(s)`` or ``file`` addresses.
        find_links: folders, pages or archives to look at besides.
        cert: a file of certificates; None takes the usual ones.
        client_cert: the user's own certificate.
        proxy: an address; None leaves it to the environment.
        trusted_hosts: ``host`` or ``host:port`` whose certificate is not checked.
        timeout: of a connection, in seconds.
    """

    index_urls: tuple[str, ...] = (PIPS_OWN_DEFAULT,)
    find_links: tuple[str, ...] = ()
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    timeout: float = 15.0


def pip_settings() -> PipSettings:
    """Ask the interpreter's pip; where there is none, take the environment's ``PIP_*`` alone.

    Raises:
        SourceFailedError: pip's configuration is damaged.
    """
    command = [sys.executable, "-m", "pip", "config", "list"]
    environment = {**os.environ, "PYTHONUTF8": "1"}
    answer = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=environment, check=False
    )
    if answer.returncode == 0:
        return settings_of(_listed(answer.stdout))
    if "No module named pip" not in answer.stderr:
        last = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise SourceFailedError(f"`{' '.join(command[1:])}` fails: {last}")
    logger.info("%s has no pip; its index is taken from PIP_* alone", sys.executable)
    return settings_of(
        {
            f":env:.{name.removeprefix('PIP_').lower().replace('_', '-')}": value
            for name, value in os.environ.items()
            if name.startswith("PIP_")
        }
    )


def settings_of(listed: Mapping[str, str]) -> PipSettings:
    """The settings in ``section.key -> value``, as ``pip config list`` names them."""
    merged: dict[str, str] = {}
    for section in SECTIONS:
        for name, value in listed.items():
            if name.startswith(f"{section}."):
                merged[name.removeprefix(f"{section}.").lower()] = value
    main = merged.get("index-url", PIPS_OWN_DEFAULT)
    urls = (main, *merged.get("extra-index-url", "").split())
    timeout = merged.get("timeout", merged.get("default-timeout", ""))
    return PipSettings(
        index_urls=() if _is_true(merged.get("no-index", "")) else urls,
        find_links=tuple(merged.get("find-links", "").split()),
        cert=merged.get("cert") or None,
        client_cert=merged.get("client-cert") or None,
        proxy=merged.get("proxy") or None,
        trusted_hosts=tuple(merged.get("trusted-host", "").split()),
        timeout=float(timeout) if timeout.replace(".", "", 1).isdigit() else PipSettings.timeout,
    )


def _listed(output: str) -> dict[str, str]:
    found = {}
    for line in output.splitlines():
        name, _, value = line.partition("=")
        try:
            found[name.strip()] = str(ast.literal_eval(value.strip()))
        except (SyntaxError, ValueError):
            logger.debug("not understood in `pip config list`: %s", name)
    return found


def _is_true(value: str) -> bool:
    return value.strip().lower() in ("1", "true", "t", "yes", "y", "on")
