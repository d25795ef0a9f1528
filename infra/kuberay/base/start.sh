#!/bin/sh
# Start one night: a copy of the suspended RayJob, under a name of its own, and wait until it has ended.
set -eu
night="$TEMPLATE-$(date -u +%Y%m%d-%H%M%S)"
kubectl get rayjob "$TEMPLATE" -o json >/tmp/template.json
kubectl patch --local -f /tmp/template.json --type=merge -o json -p '{
  "metadata": {"name": "'"$night"'", "uid": null, "resourceVersion": null, "generation": null,
    "creationTimestamp": null, "managedFields": null, "annotations": null, "finalizers": null},
  "spec": {"suspend": false},
  "status": null
}' >/tmp/night.json
kubectl create -f /tmp/night.json
while :; do
  state=$(kubectl get rayjob "$night" -o 'jsonpath={.status.jobDeploymentStatus}')
  case "$state" in
    Complete) exit 0 ;;
    Failed) kubectl get rayjob "$night" -o 'jsonpath={.status.message}' >&2; exit 1 ;;
  esac
  sleep "${POLL_SECONDS:-20}"
done
