"""The manifest of a store or study: what it is, whose, and how to cite it, as an RO-Crate.

An RO-Crate (version 1.1) is a file ``ro-crate-metadata.json`` in the folder that it tells of:
JSON-LD in words of schema.org. It knows folders, people, licenses, and which program made what of
what, where Croissant tells of records and fields of files.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import numpy as np
import xarray as xr

from xconverge.io.zarr.checksums import GROUP
from xconverge.io.zarr.encoding import NAME
from xconverge.io.zarr.locks import locked
from xconverge.io.zarr.places import MANIFEST, Options, Place, StorePath, to_json
from xconverge.io.zarr.root import existing_store, wholes
from xconverge.io.zarr.snapshot import Snapshot, steadily
from xconverge.labels.arguments import text
from xconverge.labels.kinds import came
from xconverge.labels.messages import DamagedStoreError, listing
from xconverge.labels.pools import pool_hash

VERSION = "https://w3id.org/ro/crate/1.1"
ROOT = "./"
MADE = "#made"
"""How identifiers begin of what made a study."""
OF_THIS = "#citation-of-this"
"""The citation that is made of authors, year and title."""
OWN = (
    "@id", "@type", "name", "description", "datePublished", "author", "license", "citation",
    "hasPart", "additionalProperty",
)  # fmt: skip
"""What is set of the store when its manifest is written again; all else stays."""
CONTENT = "content_hash"
Entity = dict[str, Any]
Author = str | Mapping[str, str]


def write_manifest(
    path: StorePath,
    *,
    title: str | None = None,
    description: str | None = None,
    authors: Sequence[Author] | None = None,
    license: str | None = None,
    citation: str | None = None,
    storage_options: Options | None = None,
) -> None:
    """Write, or bring up to date, the manifest of a store or study: an RO-Crate that it carries.

    Parameters
    ----------
    path : str, path or zarr Store
        The store.
    title, description : str, optional
        What it is; by default what an earlier manifest says.
    authors : sequence of str or mapping, optional
        Names, or ``{"name": …, "orcid": "0000-…"}``; by default those of an earlier manifest.
    license : str, optional
        An SPDX identifier (``CC-BY-4.0``) or a URL; by default that of an earlier manifest.
    citation : str, optional
        What is to be cited: a DOI (``10.…`` or its URL), or text; by default that of an earlier
        manifest, else authors, year and title.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them; never written anywhere.

    Raises
    ------
    ValueError
        No title, authors or license, and no earlier manifest that has them.
    TypeError
        A store of Icechunk, which holds nothing but arrays and groups.
    FileNotFoundError
        There is no store.

    Notes
    -----
    It lists each group (modality, neighbour graph, RDMs) with its sizes, models, ``pool_hash`` and
    a ``content_hash``, the SHA-256 of the checksums of all its chunks and labels (of its metadata,
    where others wrote it). Groups that are changed later make it stale: `read_manifest` warns, and
    ``write_manifest(path)`` brings it up to date, and keeps what others have added of the store.
    The file is set in one step, beside the groups; zarr-python says of it, where all of a
    store is listed, that it is no part of the hierarchy.

    Soiland-Reyes et al. (2022), Packaging research artefacts with RO-Crate, Data Science 5.

    Examples
    --------
    >>> import tempfile
    >>> from xconverge import stack_models, write_representations
    >>> path = tempfile.mkdtemp() + "/study.zarr"
    >>> write_representations(path, stack_models({"a": np.eye(4)}, stimuli=list("wxyz")),
    ...     modality="vision")
    >>> write_manifest(path, title="Four letters", authors=["A. Author"], license="CC-BY-4.0",
    ...     description="One network, four letters")
    >>> read_manifest(path)["@graph"][1]["name"]
    'Four letters'
    """
    root = existing_store(path, storage_options)
    root.check_changes()
    if not root.holds_files:
        raise TypeError(
            f"{root} holds arrays and groups alone, and a manifest is a file; write_manifest is "
            "for folders, buckets and other stores of keys"
        )
    with locked(root, f"writing the manifest of {root}"):
        before = _entities(crate_of(root))
        given = _given(before, title, description, authors, license, citation)
        root.put({MANIFEST: to_json(_crate(given, _parts(root), _kept(before)))})


def read_manifest(path: StorePath, *, storage_options: Options | None = None) -> dict[str, Any]:
    """The manifest of a store or study, as JSON has it.

    Parameters
    ----------
    path : str, path or zarr Store
        The store.
    storage_options : dict, optional
        Credentials and settings for a URL, as fsspec takes them.

    Returns
    -------
    dict
        The RO-Crate: ``"@graph"`` is a list of entities, the second the store itself.

    Warns
    -----
    UserWarning
        Groups were added, removed or changed since it was written.

    Raises
    ------
    FileNotFoundError
        There is no store, or it has no manifest.
    DamagedStoreError
        The file is no RO-Crate.

    Examples
    --------
    See `write_manifest`.
    """
    root = existing_store(path, storage_options)
    crate = crate_of(root)
    if crate is None:
        raise FileNotFoundError(f"{root} has no manifest; xconverge.io.write_manifest writes one")
    if changed := stale_parts(root, crate):
        warnings.warn(
            f"the manifest of {root} is of an earlier state: {listing(changed)} changed since; "
            "xconverge.io.write_manifest(path) brings it up to date",
            UserWarning,
            stacklevel=2,
        )
    return crate


def stale_parts(root: Place, crate: Mapping[str, Any]) -> list[str]:
    """Groups that are not as a manifest says, or that it does not list."""
    known = _entities(crate)
    store = known[ROOT]
    parts = [known[_id(one)] for one in _list(store.get("hasPart")) if _id(one) in known]
    told = {
        name: {
            known[_id(one)].get("name"): known[_id(one)].get("value")
            for one in _list(part.get("additionalProperty"))
            if _id(one) in known
        }
        for name, part in [(ROOT, store), *((str(part.get("name")), part) for part in parts)]
    }
    now = _parts(root)
    return sorted(str(name) for name in {*told, *now} if told.get(name, {}) != now.get(name, {}))


def told_by(crate: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of a store, for people: texts, and the names of its groups."""
    known = _entities(crate)
    root = known[ROOT]

    def named(value: Any) -> list[str]:
        own = [known.get(_id(one), {}) for one in _list(value)]
        return [str(one.get("name", one.get("@id", ""))) for one in own]

    return {
        "title": str(root.get("name", "")),
        "description": str(root.get("description", "")),
        "authors": named(root.get("author")),
        "license": "".join(named(root.get("license"))),
        "citation": "".join(named(root.get("citation"))),
        "parts": named(root.get("hasPart")),
    }


def study_manifest(tree: xr.DataTree, stage: Place, inputs: Sequence[StorePath]) -> bytes:
    """The manifest that a study is written with: version, seeds, parameters and what it is of."""
    sides = [str(tree.attrs[key]) for key in ("modality", "other") if tree.attrs.get(key)]
    name = f"Study of {' and '.join(sides)}" if sides else "Results of xconverge"
    groups = [node.path.strip("/") for node in tree.subtree if node.data_vars and node.path != "/"]
    given = {
        "@id": ROOT,
        "@type": "Dataset",
        "name": name,
        "description": f"{name}: {', '.join(groups) or 'one group'}",
        "datePublished": _now(),
        "mentions": {"@id": MADE},
    }
    return to_json(_crate([given], _parts(stage), _made(tree, inputs)))


def _made(tree: xr.DataTree, inputs: Sequence[StorePath]) -> list[Entity]:
    """The run that made a study: the program, its parameters, and the stores that it read."""
    from xconverge import __version__

    action: Entity = {
        "@id": MADE,
        "@type": "CreateAction",
        "name": "computed with xconverge",
        "endTime": _now(),
        "instrument": {"@id": f"{MADE}-with"},
        "result": {"@id": ROOT},
        "object": [],
    }
    program = {
        "@id": f"{MADE}-with",
        "@type": "SoftwareApplication",
        "name": "xconverge",
        "version": __version__,
    }
    entities: list[Entity] = [action, program]
    for number, one in enumerate(inputs, 1):
        root = existing_store(one, None)
        key = f"{MADE}-of-{number}"
        # a folder by its name: where it lies on the machine of its author is nobody's business
        called = root.folder.name if root.folder is not None else str(root)
        parts = _parts(root)
        own = [
            _value(f"{key}-{quote(name)}", CONTENT, part[CONTENT]) | {"description": name}
            for name, part in parts.items()
        ]
        entities += [
            {"@id": key, "@type": "CreativeWork", "name": called, "additionalProperty": _ids(own)},
            *own,
        ]
        action["object"].append({"@id": key})
    told = {
        f"{node.path.strip('/')}/{key}".strip("/"): value
        for node in tree.subtree
        for key, value in node.attrs.items()
        if value is not None
    }
    own = [_value(f"{MADE}-by-{quote(key)}", key, value) for key, value in told.items()]
    action["additionalProperty"] = _ids(own)
    return [*entities, *own]


def _given(
    before: Mapping[str, Entity],
    title: str | None,
    description: str | None,
    authors: Sequence[Author] | None,
    license: str | None,
    citation: str | None,
) -> list[Entity]:
    """The store itself and the people and texts that it names: as given, else as before."""
    for name, value in (("title", title), ("description", description), ("license", license)):
        if value is not None:
            text(name, value)
    if citation is not None:
        text("citation", citation)
    old = before.get(ROOT, {})
    people = [before[one["@id"]] for one in _list(old.get("author")) if one.get("@id") in before]
    if authors is not None:
        people = [_person(one, number) for number, one in enumerate(_several(authors), 1)]
    terms = _license(license) if license is not None else before.get(_id(old.get("license")))
    root: Entity = {
        **{key: value for key, value in old.items() if key not in OWN},
        "@id": ROOT,
        "@type": "Dataset",
        "name": title if title is not None else old.get("name"),
        "description": description if description is not None else old.get("description"),
    }
    lacking = [
        name
        for name, value in (("title", root["name"]), ("authors", people), ("license", terms))
        if not value
    ]
    if lacking:
        raise ValueError(
            f"a manifest needs {' and '.join(f'{name}=' for name in lacking)}, and no earlier one "
            "has them: write_manifest(path, title='…', authors=['…'], license='CC-BY-4.0')"
        )
    root["description"] = root["description"] or root["name"]
    assert terms is not None
    known = before.get(_id(old.get("citation")))
    if citation is not None:
        cited = _cited(citation)
    elif known is not None and known["@id"] != OF_THIS:
        cited = known
    else:
        # what was made of authors and title is made again, of those of now
        cited = _citation_of(people, root["name"])
    root |= {
        "datePublished": _now(),
        "author": _ids(people),
        "license": {"@id": terms["@id"]},
        "citation": {"@id": cited["@id"]},
    }
    return [root, *people, terms, cited]


def _kept(before: Mapping[str, Entity]) -> list[Entity]:
    """What others, or the writing of a study, have said, and what that names."""
    store = before.get(ROOT, {})
    found: dict[str, Entity] = {}
    waiting = [value for key, value in store.items() if key not in OWN]
    while waiting:
        for one in _list(waiting.pop()):
            name = _id(one)
            if name in before and name not in (*found, ROOT, MANIFEST):
                found[name] = before[name]
                waiting += before[name].values()
    return list(found.values())


def _several(authors: Sequence[Author]) -> Sequence[Author]:
    if isinstance(authors, str | Mapping) or not isinstance(authors, Sequence) or not authors:
        raise TypeError(f"authors must be a list of names, ['A. Author'], got {came(authors)}")
    return authors


def _person(author: Author, number: int) -> Entity:
    known = {"name": author} if isinstance(author, str) else dict(author)
    if not isinstance(known.get("name"), str) or set(known) - {"name", "orcid", "affiliation"}:
        raise TypeError(
            "an author is a name, or a dict with 'name' and if you like 'orcid' and "
            f"'affiliation', got {came(author)}"
        )
    orcid = known.pop("orcid", "").removeprefix("https://orcid.org/")
    who = f"https://orcid.org/{orcid}" if orcid else f"#author-{number}"
    return {"@id": who, "@type": "Person", **known}


def _license(license: str) -> Entity:
    url = license if "://" in license else f"https://spdx.org/licenses/{license}"
    return {"@id": url, "@type": "CreativeWork", "name": license}


def _cited(citation: str) -> Entity:
    doi = citation.removeprefix("https://doi.org/").removeprefix("doi:")
    if doi.startswith("10.") and " " not in doi:
        return {"@id": f"https://doi.org/{doi}", "@type": "ScholarlyArticle", "name": doi}
    return {"@id": "#citation", "@type": "ScholarlyArticle", "name": citation}


def _citation_of(people: Sequence[Entity], title: str) -> Entity:
    names = ", ".join(person["name"] for person in people)
    told = f"{names} ({datetime.now(UTC).year}). {title}."
    return {"@id": OF_THIS, "@type": "CreativeWork", "name": told}


def _crate(
    given: Sequence[Entity], parts: Mapping[str, Mapping[str, Any]], more: Sequence[Entity]
) -> dict[str, Any]:
    """The whole: the store and what it names, its groups, and what else is known."""
    root, *others = given
    listed: list[Entity] = []
    for name, part in parts.items():
        values = [_value(f"#{quote(name)}-{key}", key, value) for key, value in part.items()]
        if name == ROOT:
            root = {**root, "additionalProperty": _ids(values)}
        else:
            entity = {"@id": f"{quote(name)}/", "@type": "Dataset", "name": name}
            listed.append({**entity, "additionalProperty": _ids(values)})
        others += values
    root = {**root, "hasPart": _ids(listed)}
    about = {
        "@id": MANIFEST,
        "@type": "CreativeWork",
        "about": {"@id": ROOT},
        "conformsTo": {"@id": VERSION},
    }
    graph = {one["@id"]: one for one in (*more, *others)}
    return {"@context": f"{VERSION}/context", "@graph": [about, root, *listed, *graph.values()]}


def _parts(root: Place) -> dict[str, dict[str, Any]]:
    """What is known of each group that was written as one, by its path; `ROOT` for the root."""

    def parts() -> dict[str, dict[str, Any]]:
        return {
            path or ROOT: _part(snapshot)
            for path, snapshot in wholes(root)
            if snapshot.checksums is not None or snapshot.arrays()
        }

    return dict(sorted(steadily(parts).items()))


def _part(snapshot: Snapshot) -> dict[str, Any]:
    (sums,) = (snapshot.place / GROUP).read(["zarr.json"])
    # what others wrote has no checksums: its documents say what it is, and not what its values are
    known = sums or json.dumps(dict(sorted(snapshot.documents.items()))).encode()
    told: dict[str, Any] = {CONTENT: f"sha256:{hashlib.sha256(known).hexdigest()}"}
    arrays = snapshot.arrays()
    if not arrays:
        return told
    dataset = snapshot.dataset()
    told |= {f"n_{dim}": int(size) for dim, size in dataset.sizes.items()}
    if "model" in dataset.indexes:
        told["models"] = [str(name) for name in dataset.indexes["model"]]
    if "stimulus" in dataset.indexes:
        told["pool_hash"] = pool_hash(dataset.indexes["stimulus"])
    if NAME in dataset:
        told |= {"dtype": str(dataset[NAME].dtype), "bytes_unpacked": int(dataset[NAME].nbytes)}
    return told


def _value(key: str, name: str, value: Any) -> Entity:
    """A property of something; what JSON-LD has no list of numbers for is JSON as text."""
    if isinstance(value, np.generic):
        value = value.item()
    # JSON has no NaN
    plain = isinstance(value, str | int) or (isinstance(value, float) and np.isfinite(value))
    plain |= isinstance(value, list) and all(isinstance(one, str) for one in value)
    told = value if plain else json.dumps(value, default=str)
    return {"@id": key, "@type": "PropertyValue", "name": name, "value": told}


def _ids(entities: Sequence[Entity]) -> list[dict[str, str]]:
    return [{"@id": one["@id"]} for one in entities]


def _id(reference: Any) -> str:
    return str(reference.get("@id", "")) if isinstance(reference, Mapping) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def crate_of(root: Place) -> dict[str, Any] | None:
    """The crate that lies there, or None."""
    (data,) = root.read([MANIFEST]) if root.holds_files else [None]
    if data is None:
        return None
    try:
        crate = json.loads(data)
        _entities(crate)[ROOT]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedStoreError(
            f"{root}/{MANIFEST} is no RO-Crate. Bring the file back from a copy, or remove it"
        ) from None
    return dict(crate)


def _entities(crate: Mapping[str, Any] | None) -> dict[str, Entity]:
    return {one["@id"]: one for one in (crate or {"@graph": []})["@graph"]}
