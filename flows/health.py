"""`python -m flows.health`: exit 0 if Prefect knows the deployment and its runner asks for runs; for health checks."""

import os
import sys

from flows.decision import DEPLOYMENT, FLOW
from flows.settings import FlowSettings
from flows.upstream import Prefect
from monitoring.schema import DriftloopError


def main() -> int:
    """Return 0 if runs that are asked for will be taken."""
    try:
        prefect = Prefect(FlowSettings.read().prefect_api_url, os.environ.get("PREFECT_API_AUTH_STRING"))
        status = prefect.deployment_status(FLOW, DEPLOYMENT)
    except DriftloopError as error:
        status = str(error)
    sys.stdout.write(f"{FLOW}/{DEPLOYMENT}: {status}\n")
    return 0 if status == "READY" else 1


if __name__ == "__main__":
    sys.exit(main())
