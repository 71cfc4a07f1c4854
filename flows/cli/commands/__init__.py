"""Every command of `twin` with its options, group by group. Each function adds one command to argparse's subparsers."""

from __future__ import annotations

from flows.cli.commands import captures, machine, making, store, twins, weights

COMMANDS = (
    making.reconstruct,
    captures.check,
    captures.unpack,
    making.merge,
    making.resume,
    making.demo,
    captures.pick,
    twins.view,
    store.status,
    store.audit,
    store.inspect,
    store.clean,
    twins.evaluate,
    twins.drop,
    twins.export,
    captures.calibrate,
    making.nvidia,
    making.nvdiffrec,
    machine.serve,
    machine.schedule,
    store.backup,
    store.restore,
    machine.notify,
    machine.settings,
    machine.doctor,
    weights.weights,
    weights.licences,
    machine.completion,
)
"""in the order that `twin --help` shows"""
