#!/usr/bin/env python3
"""Is the sidecar a sidecar, and does only the gate hold the keys?

    manifest.py POD.yaml

What no schema says: order, probes, security contexts, and which container
mounts what. Each fault is a line; it exits 1 if there is one.
"""

import pathlib
import sys

import yaml

GATE_ONLY = {"config", "policies", "tools", "credentials", "state"}


def faults(pod):
    """Each way in which the pod is not as it must be."""
    spec = pod["spec"]
    gate = next((c for c in spec.get("initContainers", []) if c["name"] == "countersign"), None)
    if gate is None:
        yield "the gate is no init container"
        return
    if gate.get("restartPolicy") != "Always":
        yield "the gate is no native sidecar: restartPolicy is not Always"
    ports = {port["name"]: port["containerPort"] for port in gate.get("ports", [])}
    for probe in ("startupProbe", "readinessProbe"):
        if gate.get(probe, {}).get("httpGet", {}).get("port") != "operator" or "operator" not in ports:
            yield f"the gate has no {probe} on the operator port"
    if spec.get("automountServiceAccountToken") is not False:
        yield "the pod gets a service account token"
    for container in [gate, *spec["containers"]]:
        context, name = container.get("securityContext", {}), container["name"]
        for key, wanted in {
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "privileged": False,
        }.items():
            if context.get(key) is not wanted:
                yield f"`{name}`: {key} is not {wanted}"
        if context.get("capabilities", {}).get("drop") != ["ALL"]:
            yield f"`{name}` keeps capabilities"
    mounted = {mount["name"] for mount in gate.get("volumeMounts", [])}
    if missing := GATE_ONLY - mounted:
        yield f"the gate does not mount {', '.join(sorted(missing))}"
    for container in spec["containers"]:
        if shared := GATE_ONLY & {mount["name"] for mount in container.get("volumeMounts", [])}:
            yield f"`{container['name']}` mounts {', '.join(sorted(shared))}"
        if container.get("securityContext", {}).get("runAsUser") == gate["securityContext"].get("runAsUser"):
            yield f"`{container['name']}` runs as the gate's user"


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: manifest.py POD.yaml")
    found = list(faults(yaml.safe_load(pathlib.Path(sys.argv[1]).read_text())))
    for fault in found:
        print(f"manifest: {fault}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
