"""Presets: they add up to what their sources say."""

from pathlib import Path

import pytest

from trafficgen.plan import WeightedDomain, Workload
from trafficgen.workload.presets import DOMAINS, RECIPIENTS


@pytest.mark.parametrize("preset", DOMAINS.values(), ids=lambda preset: preset.name)
def test_domain_preset_is_a_plan_with_a_source(preset):
    Workload(domains=tuple(WeightedDomain(name, weight) for name, weight in preset.domains))
    assert preset.source
    assert preset.words


@pytest.mark.parametrize("name", [name for name in DOMAINS if name not in ("kumo-doc", "kumo-default")])
def test_percentages_add_up_to_a_hundred(name):
    preset = DOMAINS[name]
    assert sum(weight for _, weight in preset.domains) + preset.rest == pytest.approx(100, abs=0.15)


def test_kumo_doc_is_the_documented_list():
    preset = DOMAINS["kumo-doc"]
    assert sum(weight for _, weight in preset.domains) == pytest.approx(88.4)
    assert len(preset.domains) == 13
    assert preset.rest == 0


def test_provider_is_expanded_in_proportion():
    weights = dict(DOMAINS["mapp2019-us"].domains)
    assert weights["hotmail.com"] + weights["outlook.com"] + weights["msn.com"] + weights["live.com"] == pytest.approx(
        12.4, abs=1e-3
    )
    assert weights["hotmail.com"] / weights["outlook.com"] == pytest.approx(8.8 / 1.2, rel=1e-3)


@pytest.mark.parametrize("preset", RECIPIENTS.values(), ids=lambda preset: preset.name)
def test_recipient_preset_is_a_plan_with_a_source(preset):
    Workload(recipients_per_message=preset.counts)
    assert preset.source


@pytest.mark.parametrize(("name", "mean"), [("spec2001", 2.0), ("rcpt-cam", 1.3)])
def test_recipient_preset_has_the_mean_of_its_source(name, mean):
    counts = RECIPIENTS[name].counts
    total = sum(weight for _, weight in counts)
    assert sum(count * weight for count, weight in counts) / total == pytest.approx(mean, abs=0.02)


@pytest.mark.parametrize("name", [*DOMAINS, *RECIPIENTS])
def test_every_preset_is_in_the_documentation(name):
    page = Path(__file__).parents[2] / "docs" / "reference" / "workload.md"
    assert f"`{name}`" in page.read_text(encoding="utf-8")
