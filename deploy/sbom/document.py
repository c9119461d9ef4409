"""The inventory as a CycloneDX document."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.component_evidence import (
    AnalysisTechnique,
    ComponentEvidence,
    Identity,
    IdentityField,
    Method,
)
from cyclonedx.model.impact_analysis import (
    ImpactAnalysisJustification,
    ImpactAnalysisResponse,
    ImpactAnalysisState,
)
from cyclonedx.model.vulnerability import (
    BomTarget,
    Vulnerability,
    VulnerabilityAnalysis,
    VulnerabilitySource,
)
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from deploy.errors import DeployError
from deploy.sbom.inventory import STATED, Entry
from deploy.sbom.weaknesses import Weakness

_NVD: Final = "https://nvd.nist.gov/vuln/detail/"


def write_document(name: str, version: str, entries: Sequence[Entry], weaknesses: Iterable[Weakness]) -> str:
    """Return the document as JSON, checked against the schema of CycloneDX 1.6.

    Raises:
        DeployError: it does not follow the schema, or a weakness names a library that is not there.
    """
    components = {entry.reference: _component(entry) for entry in entries}
    root = Component(name=name, version=version, type=ComponentType.APPLICATION, bom_ref=f"{name}@{version}")
    bom = Bom()
    bom.metadata.component = root
    top = {entry.name: components[entry.reference] for entry in entries if entry.within is None}
    for entry in entries:
        holder = root if entry.within is None else _holder(entry, entries, components)
        (bom.components if entry.within is None else holder.components).add(components[entry.reference])
        bom.register_dependency(components[entry.reference], [top[need] for need in entry.needs if need in top])
    needed = {need for entry in entries for need in entry.needs}
    bom.register_dependency(root, [component for key, component in top.items() if key not in needed])
    for vulnerability in _vulnerabilities(weaknesses, entries):
        bom.vulnerabilities.add(vulnerability)
    return _checked(JsonV1Dot6(bom).output_as_string(indent=1))


def _checked(document: str) -> str:
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(document)
    if fault is not None:
        raise DeployError(f"the inventory is not valid CycloneDX 1.6: {fault}")
    return document + "\n"


def _holder(entry: Entry, entries: Iterable[Entry], components: Mapping[str, Component]) -> Component:
    found = next((other for other in entries if other.name == entry.within), None)
    if found is None:
        raise DeployError(f"{entry.name} is said to be in {entry.within}, which is not in the inventory")
    return components[found.reference]


def _component(entry: Entry) -> Component:
    method = Method(
        technique=AnalysisTechnique.BINARY_ANALYSIS if entry.kind == "maven" else AnalysisTechnique.MANIFEST_ANALYSIS,
        confidence=_decimal(entry.confidence),
        value=entry.evidence,
    )
    identity = Identity(field=IdentityField.VERSION, confidence=_decimal(entry.confidence), methods=[method])
    licences = [LicenseFactory().make_from_string(entry.licence)] if entry.licence else []
    return Component(
        name=entry.name,
        group=entry.group,
        version=entry.version,
        type=ComponentType.LIBRARY,
        bom_ref=entry.reference,
        purl=_purl(entry),
        licenses=licences,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=entry.sha256)] if entry.sha256 else [],
        evidence=ComponentEvidence(identity=[identity]) if entry.version else None,
        properties=[] if entry.confidence == STATED else [Property(name="lantern:version", value=entry.evidence)],
    )


def _decimal(confidence: float) -> Decimal:
    return Decimal(str(confidence))


def _purl(entry: Entry) -> PackageURL | None:
    if entry.kind == "generic":
        return None
    return PackageURL(entry.kind, entry.group, entry.package or entry.name, entry.version)


def _vulnerabilities(weaknesses: Iterable[Weakness], entries: Iterable[Entry]) -> Iterable[Vulnerability]:
    references: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        references[entry.name].append(entry.reference)
    for weakness in weaknesses:
        if weakness.library not in references:
            raise DeployError(f"{weakness.id} is said to be in {weakness.library}, which is not in the inventory")
        yield Vulnerability(
            bom_ref=weakness.id,
            id=weakness.id,
            source=VulnerabilitySource(name="NVD", url=XsUri(_NVD + weakness.id)),
            description=weakness.what,
            recommendation=f"fixed in {weakness.fixed_in}, which TorchServe 0.12.0 does not have",
            workaround=weakness.fence,
            analysis=_analysis(weakness),
            affects=[BomTarget(ref=reference) for reference in references[weakness.library]],
        )


def _analysis(weakness: Weakness) -> VulnerabilityAnalysis:
    if weakness.state == "exploitable":
        return VulnerabilityAnalysis(
            state=ImpactAnalysisState.EXPLOITABLE,
            responses=[ImpactAnalysisResponse.WORKAROUND_AVAILABLE],
            detail=weakness.fence,
        )
    return VulnerabilityAnalysis(
        state=ImpactAnalysisState.NOT_AFFECTED,
        justification=ImpactAnalysisJustification.CODE_NOT_REACHABLE,
        detail=weakness.fence,
    )
