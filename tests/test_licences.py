"""Every installed package that Keel needs has a permissive licence, or is named here with the reason."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement

PERMISSIVE = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|Unlicense|Zlib|ZPL|Zope|HPND|CC0|MPL|Mozilla|"
    r"Historical Permission|Public Domain|BlueOak|CMU|MIT-CMU)\b",
    re.IGNORECASE,
)
STRONG = re.compile(r"\b(A?GPL|GNU (Affero )?General Public)", re.IGNORECASE)
EXCEPTIONS = {
    "pygit2": "GPL-2.0 with the linking exception of libgit2; used by DVC, linked and not changed",
    "text-unidecode": "Artistic License or GPL, the Artistic License is taken; used by python-slugify",
    "asyncssh": "EPL-2.0, weak copyleft by file; comes with DVC for SSH remotes, used unchanged",
    "grandalf": "EPL-1.0 is taken, weak copyleft by file; comes with DVC for `dvc dag`, used unchanged",
    "huey": "MIT in its repository, left out of its metadata; comes with MLflow",
    "skops": "MIT in its repository, its metadata says only OSI Approved; comes with MLflow",
    "dulwich": "Apache-2.0 or GPL-2.0, Apache-2.0 is taken; used by DVC",
}
# Runtime libraries of CUDA that torch's ordinary wheel brings; redistributable under NVIDIA's own terms.
CUDA = ("nvidia-", "cuda-")


def closure(name: str) -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    todo = [Requirement(name)]
    while todo:
        requirement = todo.pop()
        key = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if key in found:
            continue
        try:
            found[key] = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        for line in found[key].requires or []:
            need = Requirement(line)
            extras = requirement.extras or {""}
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(need)
    return found


def stated(package: Distribution) -> str:
    meta = package.metadata
    classifiers = [c for c in meta.get_all("Classifier") or [] if c.startswith("License ::")]
    free_text = (meta.get("License") or "")[:200]
    return " | ".join(filter(None, [meta.get("License-Expression"), free_text, *classifiers]))


PACKAGES = closure("keel")


def test_closure_is_found() -> None:
    assert {"prefect", "torch", "timm", "mlflow", "dvc", "evidently", "great-expectations", "lightning"} <= set(
        PACKAGES
    )


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_licence_is_permissive(name: str) -> None:
    if name in EXCEPTIONS or name.startswith(CUDA):
        return
    text = stated(PACKAGES[name])
    assert PERMISSIVE.search(text), f"{name} states '{text}'"
    assert not STRONG.search(text) or re.search(r"\bor\b", text, re.IGNORECASE), f"{name} states '{text}'"
    assert "AGPL" not in text
