"""`python -m flows.trigger.health`: exit 0 if Prefect knows the deployments and a runner asks for their runs."""

import sys

from flows.clients.prefect import DEPLOYMENT, Prefect
from flows.settings import FlowSettings
from flows.trigger.notification import ACTIONS
from monitoring.contract.errors import DriftloopError


def main() -> int:
    """Return 0 if runs that are asked for will be taken."""
    try:
        settings = FlowSettings.read()
        prefect = Prefect(settings.prefect_api_url, settings.prefect_api_auth_string)
        states = {flow: prefect.deployment_status(flow, DEPLOYMENT) for flow in ACTIONS}
    except DriftloopError as error:
        states = dict.fromkeys(ACTIONS, str(error))
    sys.stdout.writelines(f"{flow}/{DEPLOYMENT}: {status}\n" for flow, status in states.items())
    return 0 if set(states.values()) == {"READY"} else 1


if __name__ == "__main__":
    sys.exit(main())
