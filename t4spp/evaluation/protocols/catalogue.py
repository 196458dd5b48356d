"""The protocols by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from t4spp.errors import ConfigError, nearest
from t4spp.evaluation.protocols.base import EvaluationProtocol
from t4spp.evaluation.protocols.contour import ContourProtocol
from t4spp.evaluation.protocols.dialogue import DialogueProtocol
from t4spp.evaluation.protocols.generalised import GRefCocoProtocol
from t4spp.evaluation.protocols.instances import InstancesProtocol
from t4spp.evaluation.protocols.masklets import MaskletsProtocol
from t4spp.evaluation.protocols.native import NativeProtocol
from t4spp.evaluation.protocols.open_vocabulary import OpenVocabularyProtocol
from t4spp.evaluation.protocols.overhead import RmsinProtocol, SegEarthProtocol
from t4spp.evaluation.protocols.rec import RecProtocol
from t4spp.evaluation.protocols.referring import (
    LisaProtocol,
    ReasonSegProtocol,
    Text4SegProtocol,
)

PROTOCOLS: Mapping[str, type[EvaluationProtocol[Any]]] = {
    protocol.name: protocol
    for protocol in (
        NativeProtocol,
        Text4SegProtocol,
        LisaProtocol,
        GRefCocoProtocol,
        ReasonSegProtocol,
        RmsinProtocol,
        SegEarthProtocol,
        OpenVocabularyProtocol,
        RecProtocol,
        ContourProtocol,
        InstancesProtocol,
        MaskletsProtocol,
        DialogueProtocol,
    )
}
"""Every protocol. ``t4spp.config.EvaluationConfig.protocols`` spells the same names out."""


def check_protocols(names: Sequence[str]) -> tuple[str, ...]:
    """The same names, each once.

    Raises:
        ConfigError: a name is unknown, or there is none.
    """
    for name in names:
        if name not in PROTOCOLS:
            raise ConfigError(
                f"evaluation.protocols: unknown protocol {name!r}; valid: "
                f"{', '.join(PROTOCOLS)}.{nearest(name, PROTOCOLS)}"
            )
    if not names:
        raise ConfigError("evaluation.protocols is empty; valid: " + ", ".join(PROTOCOLS))
    return tuple(dict.fromkeys(names))
