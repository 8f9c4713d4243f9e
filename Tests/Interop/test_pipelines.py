"""pipelines/kubernetes.yaml against Kubernetes' own schemas."""

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

MANIFESTS = Path(__file__).resolve().parents[2] / "pipelines/kubernetes.yaml"


# podFailurePolicy is stable from 1.31 on, backoffLimitPerIndex from 1.33 on, beta and on by default from 1.29.
@pytest.mark.parametrize("version", ["1.29", "1.33", kubernetes_validate.latest_version()])
def test_manifests_are_valid(version):
    jobs = list(yaml.safe_load_all(MANIFESTS.read_text(encoding="utf-8")))
    assert [job["kind"] for job in jobs] == ["Job", "Job"]
    for job in jobs:
        kubernetes_validate.validate(job, version, strict=True)


def test_a_misspelt_key_is_seen():
    job = next(yaml.safe_load_all(MANIFESTS.read_text(encoding="utf-8")))
    job["spec"]["podFailurePolicies"] = job["spec"].pop("podFailurePolicy")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
