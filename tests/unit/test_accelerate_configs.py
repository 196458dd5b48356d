"""The launcher configs that ship are such that Accelerate reads them as meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType

TYPES = {
    "cpu2.yaml": DistributedType.MULTI_GPU,
    "ddp.yaml": DistributedType.MULTI_GPU,
    "deepspeed_zero2.yaml": DistributedType.DEEPSPEED,
    "fsdp.yaml": DistributedType.FSDP,
}


@pytest.fixture
def folder(project: Path) -> Path:
    return project / "configs" / "base" / "accelerate"


def test_every_launcher_config_is_tested(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(TYPES)


@pytest.mark.parametrize("name", sorted(TYPES))
def test_accelerate_reads_the_config_as_meant(name: str, folder: Path) -> None:
    config = load_config_from_file(str(folder / name))
    assert isinstance(config, ClusterConfig)
    assert config.distributed_type == TYPES[name]
    assert config.num_processes == 2
    assert config.use_cpu is (name == "cpu2.yaml")


@pytest.mark.parametrize("name", sorted(TYPES))
def test_the_launcher_knows_every_key_of_the_config(name: str, folder: Path) -> None:
    parser = launch_command_parser()
    args = parser.parse_args(["--config_file", str(folder / name), "-m", "t4spp", "train", "x"])
    config = load_config_from_file(str(folder / name))
    for section, prefix in ((config.fsdp_config, "fsdp_"), (config.deepspeed_config, "")):
        for key in section:
            assert key.startswith(prefix)
            assert hasattr(args, key), f"{key} is no option of accelerate launch"
    checked, _, _ = _validate_launch_command(args)
    assert checked.num_processes == 2
    assert checked.use_fsdp == (name == "fsdp.yaml")
    assert checked.use_deepspeed == (name == "deepspeed_zero2.yaml")
    assert checked.multi_gpu == (name in ("cpu2.yaml", "ddp.yaml"))


def test_the_sharded_config_is_one_that_the_fsdp_plugin_accepts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.utils import FullyShardedDataParallelPlugin, patch_environment
    from accelerate.utils.launch import prepare_multi_gpu_env

    parser = launch_command_parser()
    args = parser.parse_args(["--config_file", str(folder / "fsdp.yaml"), "-m", "t4spp"])
    args, _, _ = _validate_launch_command(args)
    monkeypatch.setattr("accelerate.utils.launch.is_port_in_use", lambda _: False)
    with patch_environment(**prepare_multi_gpu_env(args)):
        plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.state_dict_type.name == "SHARDED_STATE_DICT"
