#!/usr/bin/env bash
# Resilience experiments, their reports, and the gate on them, for any CI system. bulletproof.yaml is GitHub's form of it.
#
#   CLUSTER=kind EXPERIMENTS="gpu-pod-kill my/drain.yaml" POLICY=gate.yaml OUT=runs/tonight bash nightly.sh
#
# Needs bulletproof, and for CLUSTER=kind also kind with docker or podman. Keep OUT, whatever the exit code is: it holds
# each run's report.html, junit.xml and history, and for several runs index.html over all of them.
# Exit code: the run's (0: every promise held), else the gate's (1: BLOCK, 2: HOLD).
set -euo pipefail

CLUSTER=${CLUSTER:-kind}            # kind, kind:NAME, sandbox:NAME or context:NAME
EXPERIMENTS=${EXPERIMENTS:-nightly} # names of shipped ones, suites, or files; separated by spaces
PLATFORM=${PLATFORM:-}              # an overlay of the reference platform; empty: as the experiments and the cluster say
POLICY=${POLICY:-}                  # what the gate asks for; empty: no gate
OUT=${OUT:-runs/$(date -u +%Y%m%d-%H%M%S)}

read -ra experiments <<<"$EXPERIMENTS"
bulletproof validate "${experiments[@]}"

case $CLUSTER in # a cluster of your own is never ended
kind | kind:* | sandbox:*) trap 'bulletproof cluster down "$CLUSTER" || echo "$CLUSTER may be left" >&2' EXIT ;;
esac
case $CLUSTER in
kind | kind:*) [ -n "${BULLETPROOF_IMAGE:-}" ] || bulletproof cluster image build ;;
esac

ran=0
bulletproof run "${experiments[@]}" --cluster "$CLUSTER" ${PLATFORM:+--platform "$PLATFORM"} --out "$OUT" || ran=$?

gated=0
if [ -n "$POLICY" ]; then
	bulletproof gate "$OUT" --policy "$POLICY" --junit "$OUT.gate.xml" || gated=$?
fi

exit $((ran != 0 ? ran : gated))
