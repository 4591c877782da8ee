"""An IO manager for the few names and numbers that steps hand each other: they are kept in Dagster's own event log.

So steps on several machines need no file system or bucket in common. They share Dagster's storage anyway.
"""

from typing import Any

import dagster as dg

_LABEL = "handed_on"
_TYPES = {dg.DagsterEventType.HANDLED_OUTPUT}


class HandedOn(dg.ConfigurableIOManager):
    """Keeps an output as JSON in the metadata of its event. For small outputs only."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        kept = {"name": context.name, "mapping_key": context.mapping_key, "value": obj}
        context.add_output_metadata({_LABEL: dg.MetadataValue.json(kept)})

    def load_input(self, context: dg.InputContext) -> Any:
        """The value of an output of this run, or of the run that this one is a retry of."""
        output = context.upstream_output
        assert output is not None, "an input of these steps comes from a step"
        for event in reversed(context.instance.all_logs(output.run_id, of_type=_TYPES)):
            told = event.dagster_event
            if told is None or told.step_key != output.step_key:
                continue
            kept: Any = told.event_specific_data
            value = kept.metadata[_LABEL].value
            if (value["name"], value["mapping_key"]) == (output.name, output.mapping_key):
                return value["value"]
        raise dg.Failure(f"Dagster's event log lacks the output {output.name!r} of step {output.step_key}")
